"""Near languages: under whose token one can be trained that Whisper has none for.

Of the 290 languages of Common Voice some 80 have a token. A fine-tuned model learns another one best under the token of
a relative: its decoder then begins with like sounds, words and letters. CLDR's distances (langcodes) tell which
language a reader can be given instead, which is often a neighbour's and no relative's (Kyrgyz: Russian), so the
families stand here, as general knowledge of linguistics has them.
"""

from collections.abc import Sequence
from functools import cache

import langcodes

# Those that whisper-tiny … large-v2 have tokens for, by the hours in Whisper's training data; large-v3 added yue.
_BY_HOURS = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su"
)
WHISPER = tuple(_BY_HOURS.split())
AT_MOST = 4  # are named
FAR = 40  # CLDR's distance up to which a neighbour's language is named where no relative has a token

# ISO 639 codes; nearer relatives stand in earlier lines. What a line lists is not ranked but by who has more speech in
# Whisper's training data, first.
BRANCHES = (
    # Turkic
    "kk ky kaa nog",
    "tt ba crh krc kum",
    "tr az tk gag azb",
    "uz ug",
    "kk uz az tr tt ba tk ky ug cv sah tyv alt kjh kaa crh krc kum nog gag",
    # Uralic
    "fi et krl olo vep vot izh liv vro",
    "fi et hu mdf myv mhr mrj kv kpv koi udm se sma smn smj sms sjd mns kca yrk",
    # Germanic
    "nl fy af li zea vls stq",
    "de lb nds gsw bar pfl ksh pdc hrx",
    "en sco jam pcm tpi bi srn gul",
    "da sv no nn fo is",
    # Romance
    "es pt gl ast an ext mwl lad",
    "fr oc ca frp wa pcd nrf",
    "it co scn sc lij lmo vec pms nap fur eml lld rm",
    "ro rup ruo",
    "es pt pap cbk kea",
    "ht gcr gcf mfe rcf",
    "es it eo ia ie io",
    # Celtic, Baltic, Slavic, Greek, Albanian, Armenian
    "cy br ga gd gv kw",
    "lv ltg lt sgs",
    "pl cs sk hsb dsb szl csb",
    "uk be ru rue",
    "hr sr bs cnr sl ckm mk bg",
    "el pnt grc tsd",
    "sq aln aat",
    "hy hyw",
    # Iranian, Indo-Aryan, Dravidian
    "fa tg prs haz ku kmr ckb sdh lki hac zza diq kiu lrc glk mzn os ps bal bcc sgh wbl",
    "pa skr pnb hnd lah",
    "hi ur mai bho awh hne raj mag anp bns bfy gbm kfy",
    "mr gom kok",
    "bn as or ory syl rkt ctg",
    "ne dty npi",
    "ur hi ks khw scl doi trw",
    "gu sd kfr bhb",
    "si dv",
    "kn tcy te ta ml",
    # Caucasian
    "ka xmf lzz sva",
    # Semitic, Berber, Cushitic, Chadic
    "ar mt arz ary apc ajp acm afb aeb shu",
    "am ti tig gez gru sgw har",
    "ar he syr aii arc cld tru",
    "so om sid aa gaz orc",
    "ha hia",
    "ar ha kab zgh shi rif tzm tmh taq",
    # Bantu and other Niger-Congo
    "sw ln sn rw rn lg bem ny tum nyn xog ttj vmw seh ki kam luy mer guz suk umb kmb kg lua lu bas ewo dua ksf byv",
    "sn zu xh ss nr nd st nso tn ts ve",
    "yo ig ee gaa ak tw fat dag mos gur bin efi ibb nup igl kbp",
    "yo wo ff fuf fuc fuv srr",
    "yo bm dyu mnk snk men",
    # Austronesian
    "id ms su jw ace bew min bjn bug mak ban mad nia btk bbc msa zsm zlm kvr",
    "tl fil ceb ilo hil war pam bcl pag mrw tsg",
    "mi haw ty to sm fj rar tkl niu rap",
    "id tl mg mi pwn ami trv tay dru szy bnn pyu tet ch pau",
    # Sino-Tibetan, Tai, Austroasiatic, Mongolic
    "zh yue nan hak wuu gan hsn cdo cpx cjy mnp czh",
    "th lo shn nod tts za",
    "my bo dz cnh mni brx lus kac kjp ksw lhu new lif",
    "vi km mnw kha sat unr hoc mtq",
    "mn bxr xal mvf",
    # Families without a token, with the language whose letters they are written in or that their speakers know too
    "ru ab abq ady kbd ce inh av lez dar lbe tab",
    "es qu quy quz qvi cak quc kek mam yua nah nhi nch ay arn",
    "ja ryu ain",
)


@cache
def _lines_of(code: str) -> tuple[tuple[str, ...], ...]:
    lines = (tuple(line.split()) for line in BRANCHES)
    return tuple(line for line in lines if code in line)


def _script(code: str) -> str | None:
    return langcodes.Language.make(language=code).maximize().script


def relatives(code: str, known: Sequence[str]) -> list[str]:
    """Those of the `known` codes that are nearest to `code`, at most four, the nearest first.

    Where no relative is known, the language of neighbours that CLDR has for its readers (Spanish for Guaraní), or else
    the most spoken ones of the same letters.

    >>> relatives("ky", ["az", "kk", "ru", "tr", "zh"]), relatives("gn", ["en", "es"]), relatives("tok", ["es", "ru"])
    (['kk', 'az', 'tr'], ['es'], ['es'])
    """
    known = [one for one in known if one != code]
    found = [one for line in _lines_of(code) for one in line if one in known]
    if known and not found:
        nearest, distance = langcodes.closest_match(code, [langcodes.standardize_tag(one) for one in known], FAR)
        others = [one for one in WHISPER if one in known]
        alike = [one for one in others if _script(one) == _script(code)]
        found = [nearest] if distance <= FAR and nearest in known else alike or others
    return list(dict.fromkeys(found))[:AT_MOST]
