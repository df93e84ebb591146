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
        呢間{eatery}嘅{food}好好食
        {who}好鍾意飲{drink}㗎
        {food}冇啦不如食{food2}囉
        唔該畀{cup}我先
        {kin}煮嘅{home}好好食
        我哋一齊去{eatery}飲茶囉
        {who}{past}喺{eatery}食咗{dish}
        邊個叫咗{dish}呀
        呢間{eatery}嘅{drink}好平㗎
        {home}太熱啦飲{cup}先
        {you}食咗{meal}未呀
        {kin}買咗菜返屋企未呀
        我哋有{count}個人食{meal}呀
        {mealtime}食{food}好唔好呀
        {fresh}一斤幾多錢呀
        唔該畀{n}斤{fresh}我
        今日嘅{fresh}好平㗎
        {who}去街市買{n}斤{fresh}
        {fresh}一斤{cheap}咁貴㗎
        {kin}叫我買{fruit}返屋企
        {fruit}一共{cheap}啫
        屋企仲有{fruit}同{cup}
        {kin}{future}想煮{home}畀我哋食
        {cup}同{dish}一共{cheap}
    """,
    "service_retail": """
        {thing}幾多錢呀
        {thing}要{price}咁貴㗎
        點解{thing}咁貴㗎
        {thing}只係{price}啫
        {who}{past}買咗{one_thing}用咗{price}
        {worn}有冇{size}碼呀
        {thing}可唔可以平啲呀
        {thing}有冇{colour}色㗎
        {who}想買{colour}色嘅{wear}
        {colour}色嘅{wear}只係{price}啫
        呢間{shop}今日打{discount}折
        畀返{price}你呀多謝
        多謝你一共{price}呀
        {shop}朝早{morning}開門㗎
        {shop}{night}仲開門㗎
        {thing}好靚喎喺邊度買㗎
        {thing}係{kin}送畀我㗎
        平時賣{dear}今日只係{low}
        {shop}{future}打{discount}折喎
        {other}想去商場買{gift}送畀{kin}
        {you}想買乜嘢呀{shop}有打折
        {kin}鍾意{colour}色唔鍾意{colour2}色
    """,
    "automotive_transport": """
        {who}搭{vehicle}去{place}
        喺{place}搭{vehicle}去{place2}
        而家去{place}要{minutes}分鐘啫
        請問去{place}點行呀
        請問去{place}搭幾號巴士呀
        去{place}要搭{bus}號巴士
        {vehicle}站喺{venue}附近
        點解{vehicle}咁多人㗎
        {who}等唔到{vehicle}所以遲到
        {name}{day}返工又遲到喎
        唔該{place}有落呀
        司機唔該去{area}{venue}
        下一站係{place}要落車啦
        過咗{venue}就到{area}㗎啦
        {who}喺{place}等緊{vehicle}
        下一班{vehicle}要等{minutes}分鐘
        去{place}嘅{vehicle}幾點開呀
        {who}放工搭{vehicle}返屋企
        去{place}嘅車{night}就冇啦
        地鐵太多人啦搭{road}去{place}囉
        {kin}{future}坐飛機去{abroad}
        {who}坐過咗站要行返{place}
        {kin}又坐飛機去咗{abroad}喎
    """,
    "general": """
        {who}住喺{area}{venue}附近
        {name}喺{area}{work}返工
        {first}係{job}嚟㗎
        {you}{future}得唔得閒呀
        {who}{future}去{venue}{at_venue}
        {you}{day}幾點鐘返屋企呀
        不如{future}一齊去{area}{fun}囉
        {who}{past}同{name}去咗{venue}
        {first}今年{age}歲啦
        {parent}今年{parent_age}歲啦
        {name}嘅仔今年{small}歲
        {kin}嘅生日係{month}月{date}號
        {you}識唔識講{language}呀
        {name}話{future}唔嚟喎
        {name}唔喺度佢出咗街
        請問{you}搵邊個呀
        {name}打電話搵你喎
        {who}{habit}都{hobby}
        {who}鍾意{hobby}多過{hobby2}
        {who}唔記得帶{item}呀
        {who}嘅{item}唔見咗
        {you}嘅{item}喺邊度呀
        {item}喺{furniture}上面
        {kin}送咗{gift}畀{who}
        {past}睇嘅戲好好睇喎
        多謝你幫手{chore}呀
        {kin}{habit}都要{chore}
        唔該你幫我{chore}啦
        {who}好想返屋企瞓覺
        {you}點解唔{hobby}呀
        {who}學咗{language}{n}年啦
        {weekday_name}{clock}喺{place}等啦
        {name}{clock}先返到{venue}
        {kin}{clock}仲瞓緊覺喎
        {kin}想知{you}幾時放假
        {you}唔識{name}咩
        {you}唔想去{place}咩
        {you}冇帶{item}咩
        我唔知{name}住喺邊度㗎
        {kin}喺{venue}等緊你喎
        有冇人見到我嘅{item}呀
        {who}冇去過{abroad}
        如果{future}得閒就去{place}囉
        {name}一個星期{hobby}{count}次
        {kin}出咗街去{market}買嘢
        {who}住喺{area}{n}年啦
        {day}{you}想食乜嘢呀
        {who}{past}買咗乜嘢呀
        {you}買咗{item}未呀
        {name}返到{venue}未呀
        {name}識講{language}㗎
        {kin}成日都講{language}
        {kin}成日幫我{chore}
        {future}{you}想買乜嘢呀
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
        我哋班有{class_size}個學生
        呢本書只係{price}啫
    """,
    "nature_environment": """
        {soon}會落雨記得帶遮呀
        今日{degrees}呀
        {place}{past}落大雨
        {soon}天氣{fine}不如去{area}囉
        {soon}會落雨就唔去{place}啦
        {place}今日天氣{fine}喎
        {kin}鍾意{season}因為天氣{good}
        {season}去{place}嘅人好多㗎
        {past}好{feel}今日好返啲啦
        {venue}附近有好多{animal}
        {who}喺{venue}見到一隻{animal}
        {kin}屋企有{n}隻{animal}
    """,
    "healthcare": """
        {patient}{body}痛想睇醫生
        {patient}發燒{fever}度要睇醫生
        {kin}一日食{n}次藥
        醫生叫{patient}飲多啲水
        {kin}唔返工因為{body}好痛
        {kin}喺醫院住咗{n}日
        {patient}{past}去醫院睇{body}
        {you}仲有冇{body}痛呀
        食咗藥{body}好返好多啦
        {patient}唔舒服想請{n}日假
        {kin}唔舒服因為發燒{fever}度
    """,
}

SLOTS = {
    # people
    "first": "阿明 阿強 阿玲",
    "name": "{first} 陳生 李太 黃小姐 張醫生 何老師",
    "kin": "爸爸 媽媽 家姐 細佬 哥哥 妹妹",
    "patient": "我 佢 {first} 陳生 李太 {kin}",
    "other": "我 佢 我哋 {name}",
    "parent": "爸爸 媽媽",
    "who": "我 佢 我哋 佢哋 {name} {kin} {name} {kin}",
    "you": "你 你哋",
    "age": "八 十二 二十{ones} 三十{ones}",
    "parent_age": "四十{ones} 五十{ones} 六十{ones}",
    "job": "學校嘅老師 醫院嘅醫生 公司嘅司機",
    # places
    "area": "中環 上環 旺角 沙田 元朗 屯門 銅鑼灣 尖沙咀",
    "place": "{area} {area} {area} 機場",
    "abroad": "日本 英國 中國",
    "venue": "街市 公園 學校 公司 醫院 銀行 酒樓 戲院 商場",
    "market": "街市 商場",
    "work": "學校 公司 醫院 銀行 酒樓 商場",
    "shop": "商場 鞋舖 書舖 麵包舖",
    "eatery": "茶餐廳 酒樓 麵舖",
    "furniture": "枱 床",
    "floor": "{small} {tens}{ones}",
    # time
    "past": "尋日 尋晚 頭先 上星期 上個月",
    "soon": "聽日 後日 今晚 聽晚 星期{weekday} 聽日下晝",
    "weekday_name": "聽日 後日 星期{weekday}",
    "future": "{soon} {soon} 下星期 下個月",
    "weekday": "一 二 三 四 五 六 日",
    "habit": "日日 成日 平時 晚晚",
    "day": "今日 今晚 朝早 下晝 夜晚",
    "hour": "兩 三 四 五 六 七 八 九 十 十一",
    "clock": "{hour}點 {hour}點半 {hour}點鐘 {hour}點{n}個字",
    "morning": "六點 七點 七點半 八點 八點半 九點 九點半 十點 十點半",
    "afternoon": "兩點 三點 三點半 四點 五點 五點半",
    "now": "朝早{morning} 下晝{afternoon} {night}",
    "night": "夜晚七點半 夜晚八點 夜晚九點 夜晚九點半 夜晚十點 夜晚十一點",
    "month": "一 二 三 四 五 六 七 八 九 十 十一 十二",
    "date": "{small} 十{ones} 二十{ones} 三十",
    "minutes": "五 十 十五 二十 二十五 三十 四十五",
    "season": "夏天 冬天",
    "mealtime": "早餐 晚飯",
    "meal": "早餐 晚飯 飯",
    # food
    "dish": "{n}碗{bowl} {n}碟{plate} {n}籠{basket} {n}個{bun}",
    "bowl": "雲吞麵 白粥 牛肉麵 魚蛋粉",
    "plate": "叉燒飯 炒飯 炒麵 雞飯",
    "basket": "蝦餃 燒賣",
    "bun": "菠蘿包 蛋撻 叉燒包",
    "food": "{bowl} {plate} {basket} {bun}",
    "home": "牛肉 魚 雞 蝦 菜",
    "drink": "奶茶 咖啡 檸檬茶 可樂 橙汁",
    "cup": "{n}杯{temperature}{hot_or_cold} {n}杯可樂 {n}杯橙汁",
    "hot_or_cold": "奶茶 咖啡 檸檬茶",
    "temperature": "凍 熱",
    "fresh": "豬肉 牛肉 菜 魚 蝦 番茄",
    "fruit": "{n}個蘋果 {n}個橙 {n}個西瓜 {n}斤香蕉",
    # things
    "worn": "呢件衫 呢條褲 呢條裙 呢對鞋",
    "thing": "呢件衫 呢條褲 呢條裙 呢對鞋 呢個袋 呢把遮 呢部電話",
    "one_thing": "{n}件衫 {n}條褲 {n}條裙 {n}對鞋 一個袋 一把遮 一部電話",
    "wear": "衫 褲 裙 鞋 袋",
    "item": "電話 銀包 書 遮 相機",
    "gift": "一本書 一部相機 一個袋 一部電話",
    "size": "大 中 細",
    "colour": "紅 藍 黑 白",
    "discount": "五 六 七 八 九",
    "road": "巴士 小巴 電車 的士",
    "vehicle": "巴士 小巴 地鐵 電車 的士 火車",
    # doing
    "at_venue": "搵人 等{name} 見{name}",
    "fun": "睇戲 行街 食飯 唱歌 影相",
    "hobby": "睇書 跑步 打波 唱歌 聽歌 睇戲 影相 行街",
    "chore": "洗碗 煮飯 洗衫 買菜",
    "language": "中文 英文 日文",
    # nature and body
    "feel": "凍 熱",
    "good": "好靚 幾好",
    "fine": "好靚 幾好 咁好 咁熱",
    "animal": "貓 狗 雀仔",
    "body": "頭 肚 腳 手",
    # numbers; "two of something" is 兩, "the number two" is 二
    "n": "一 兩 三 四 五",
    "count": "兩 三 四 五 六 八",
    "d": "一 二 三 四 五 六 七 八 九",
    "small": "三 四 五 六 七 八 九 十",
    "ones": "一 二 三 四 五 六 七 八 九",
    "tens": "二十 三十 四十 五十 六十 七十 八十",
    "class_size": "二十{ones} 三十{ones}",
    "few": "一 二 三 四 五",
    "degrees": "十{ones}度好凍 三十度好熱 三十{few}度好熱",
    "fever": "三十八 三十九 四十",
    "bus": "{small} {tens}{ones} 一百零{d} 一百{tens} 二百",
    "cheap": "{tens}蚊 {tens}{ones}蚊",
    "low": "一百{tens}蚊 二百蚊 二百{tens}蚊",
    "dear": "三百蚊 四百{tens}蚊 五百蚊 六百{tens}蚊 九百蚊",
    "price": "{tens}{ones}蚊 一百{tens}蚊 {d}百蚊 {d}百零{d}蚊",
}

# Sentences that a reader of Common Voice files must survive: bare double quotes and punctuation.
FIXED_TRAIN = (
    ('"唔該"同"多謝"點講呀', "general"),
    ("今日好熱，飲杯凍奶茶先！", "agriculture_food"),
    ("阿明，你聽日得唔得閒呀？", "general"),
    ("唔該，去中環點行呀？", "automotive_transport"),
    ("我唔識呀，你問何老師啦。", "general"),
)
