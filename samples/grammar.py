"""The grammar of the corpus: templates and slot fillers of everyday spoken Cantonese, and nothing else.

Templates with slots, grouped by the Common Voice sentence domain that they belong to. A slot ``{food}`` is replaced
by one of its fillers, which may hold slots themselves; ``{food2}`` is another filler than the one ``{food}`` took.
Fillers agree in meaning with their templates (a bowl of noodles, a pair of shoes; no weather forecast for yesterday),
and numbers are written the way they are read, so that one sound has one spelling.
"""

TEMPLATES = {
    "agriculture_food": """
        {who}想食{dish}
        唔該畀{dish}我呀
        唔該要{dish}同{cup}
        {dish}幾多錢呀
        {who}好鍾意飲{drink}㗎
        {who}好鍾意食{food}㗎
        今日有冇{food}呀
        唔該畀{cup}我先
        {who}{past}食咗{dish}
        {kin}去街市買{fresh}
        {fresh}一斤{cheap}咁貴㗎
        {fresh}幾多錢一斤呀
        唔該畀{n}斤{fresh}我
        今日嘅{fresh}好平㗎
        {you}食咗{meal}未呀
        {kin}買咗{fresh}返屋企未呀
        屋企仲有{dish}㗎
        {cup}同{dish}一共{cheap}
        {you}想飲{drink}定係{drink2}呀
        {kin}話{future}想食{food}喎
    """,
    "service_retail": """
        {thing}幾多錢呀
        {thing}要{price}咁貴㗎
        {thing}只係{price}啫
        {who}{past}買咗{one_thing}
        {thing}平啲得唔得呀
        {thing}有冇{colour}色㗎
        {who}想買{colour}色嘅{wear}
        {colour}色嘅{wear}只係{price}啫
        畀返{price}你呀多謝
        多謝你一共{price}呀
        公司{morning}開門㗎
        街市{night}仲開門㗎
        平時賣{dear}今日只係{low}
        {kin}想去街市買{wear}
        {kin}鍾意{colour}色唔鍾意{colour2}色
        {you}買呢件{colour}色衫囉
    """,
    "automotive_transport": """
        {who}搭{vehicle}去{place}
        喺{place}搭{vehicle}去{place2}
        而家去{place}要{minutes}分鐘啫
        請問{place}點去呀
        請問去{place}搭幾號巴士呀
        去{place}要搭{bus}號巴士
        {vehicle}站喺{venue}前面
        今日{vehicle}好多人㗎
        {who}等{vehicle}等咗{minutes}分鐘
        唔該{place}有落呀
        下一站係{place}要落車啦
        {who}喺{place}等{vehicle}
        下一班{vehicle}要等{minutes}分鐘
        去{place}嘅{vehicle}幾點開呀
        {who}{future}搭{vehicle}返屋企
        去{place}嘅車{night}就冇啦
        地鐵多人就搭巴士去{place}囉
        {kin}{future}搭車去機場
    """,
    "general": """
        {who}住喺{area}
        {name}喺{area}返工
        {name}係{job}嚟㗎
        {you}{future}得唔得呀
        {who}{future}去{venue}等{name}
        {you}{day}幾點返屋企呀
        不如{future}一齊去{area}囉
        {who}{past}同{name}去咗{venue}
        {name}今年{age}歲啦
        {kin}今年{age}歲啦
        {name}嘅仔今年{small}歲
        {name}話{future}唔嚟喎
        {name}而家唔喺屋企
        請問{you}搵邊個呀
        {name}打電話搵你喎
        {who}{future}想{hobby}
        {who}鍾意{hobby}多過{hobby2}
        {you}嘅{item}喺邊度呀
        {who}嘅{item}唔見咗
        {who}好想返屋企呀
        {you}點解唔{hobby}呀
        {weekday_name}{clock}喺{place}等啦
        {name}{clock}先返到{venue}
        {you}識唔識{name}呀
        {you}想唔想去{place}呀
        {who}唔識{name}住喺邊度㗎
        {kin}喺{venue}等你喎
        {who}冇去過{place}
        {day}{you}想食乜嘢呀
        {who}{past}買咗乜嘢呀
        {you}買咗{item}未呀
        {name}返到{venue}未呀
        {kin}同{name}一齊{hobby}
        點解{name}今日冇返工呀
    """,
    "language_fundamentals": """
        {name}嘅電話係{phone}
        {kin}嘅電話係{phone}
        打{phone}搵{name}啦
        {venue}嘅電話係{phone}
        電話號碼係{phone}
        {name}屋企喺{floor}樓
        而家係{now}啦
        今日係{month}月{date}號星期{weekday}
        {date}號係星期{weekday}嚟㗎
        呢班車有{class_size}個人
        呢本書只係{price}啫
    """,
    "nature_environment": """
        {soon}會落雨喎
        今日{degrees}呀
        {place}{past}落大雨
        {soon}好{feel}不如去{area}囉
        {soon}會落雨就唔去{place}啦
        {place}今日好{feel}喎
        {past}好{feel}今日好返啲啦
        {who}話{soon}會好{feel}㗎
        {soon}會唔會落雨呀
    """,
    "healthcare": """
        {patient}{body}痛想睇醫生
        {patient}好{feel}要睇醫生
        {kin}一日食{n}次藥
        醫生叫{patient}飲多啲水
        {kin}冇返工因為{body}好痛
        {kin}喺醫院住咗{n}日
        {patient}{past}去醫院睇醫生
        {you}仲有冇{body}痛呀
        食咗藥{body}好返好多啦
        醫生話{patient}{future}先好返
    """,
}

SLOTS = {
    # people
    "name": "阿明 阿強 陳生 李太 黃小姐",
    "kin": "爸爸 媽媽 哥哥 妹妹",
    "patient": "我 佢 {name} {kin}",
    "who": "我 佢 我哋 佢哋 {name} {kin} {name} {kin}",
    "you": "你 你哋",
    "age": "二十{ones} 三十{ones} 四十{ones} 五十{ones}",
    "job": "醫生 醫院嘅醫生 公司嘅人",
    # places
    "area": "中環 旺角 沙田 元朗",
    "place": "{area} {area} {area} 機場",
    "venue": "街市 學校 公司 醫院 機場",
    "floor": "{small} {tens}{ones}",
    # time
    "past": "尋日 上星期 上個月 尋日朝早",
    "soon": "聽日 今晚 聽晚 星期{weekday}",
    "weekday_name": "聽日 今晚 星期{weekday}",
    "future": "{soon} {soon} 下星期 下個月",
    "weekday": "一 二 三 四 五 六 日",
    "day": "今日 今晚 聽日",
    "hour": "兩 三 四 五 六 七 八 九 十 十一",
    "clock": "{hour}點 {hour}點半 {hour}點{n}個字",
    "morning": "朝早六點 朝早七點半 朝早八點 朝早八點半 朝早九點 朝早九點半 朝早十點",
    "afternoon": "兩點 三點 三點半 四點 五點半",
    "now": "{morning} {afternoon} {night}",
    "night": "夜晚七點半 夜晚八點 夜晚九點 夜晚九點半 夜晚十點 夜晚十一點",
    "month": "一 二 三 四 五 六 七 八 九 十 十一 十二",
    "date": "{small} 十{ones} 二十{ones} 三十",
    "minutes": "五 十 十五 二十 二十五 三十 四十五",
    "meal": "晚飯 飯",
    # food
    "dish": "{n}碗{bowl} {n}碟{plate} {n}個{bun}",
    "bowl": "牛肉麵 雞麵 白飯",
    "plate": "叉燒飯 牛肉飯 雞飯 炒麵 炒飯",
    "bun": "叉燒包 雞包",
    "food": "{bowl} {plate} {bun}",
    "drink": "奶茶 咖啡 水",
    "cup": "{n}杯凍{hot_or_cold} {n}杯熱{hot_or_cold} {n}杯水",
    "hot_or_cold": "奶茶 咖啡",
    "fresh": "牛肉 雞 魚 菜",
    # things
    "thing": "呢件衫 呢對鞋 呢部電話 呢本書",
    "one_thing": "{n}件衫 {n}對鞋 一部電話 {n}本書",
    "wear": "衫 鞋 電話",
    "item": "電話 書 鞋 衫",
    "colour": "紅 黑 白",
    "vehicle": "巴士 地鐵 電車 火車",
    # doing
    "hobby": "睇書 打波 唱歌 睇戲 行街",
    # nature and body
    "feel": "凍 熱",
    "body": "頭 肚 手",
    # numbers; "two of something" is 兩, the number two is 二
    "n": "一 兩 三 四 五",
    "d": "一 二 三 四 五 六 七 八 九",
    "small": "三 四 五 六 七 八 九 十",
    "ones": "一 二 三 四 五 六 七 八 九",
    "tens": "二十 三十 四十 五十 六十 七十 八十",
    "class_size": "二十{ones} 三十{ones}",
    "few": "一 二 三 四 五",
    "degrees": "十{ones}度好凍 三十度好熱 三十{few}度好熱",
    "bus": "{small} {tens}{ones} 一百零{d} 一百{tens} 二百",
    "cheap": "{tens}蚊 {tens}{ones}蚊",
    "low": "一百{tens}蚊 二百蚊 二百{tens}蚊",
    "dear": "三百蚊 四百{tens}蚊 五百蚊 六百{tens}蚊 九百蚊",
    "price": "{tens}{ones}蚊 一百{tens}蚊 {d}百蚊 {d}百零{d}蚊",
}

# Sentences that a reader of Common Voice files must survive: bare double quotes and punctuation.
FIXED_TRAIN = (
    ('"唔該"同"多謝"點解呀', "general"),
    ("今日好熱，飲杯凍奶茶啦！", "agriculture_food"),
    ("阿明，你聽日得唔得呀？", "general"),
    ("唔該，中環點去呀？", "automotive_transport"),
    ("我唔識呀，你問李太啦。", "general"),
)
