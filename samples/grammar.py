"""The grammar of the corpus: templates and slot fillers of everyday spoken Cantonese, and nothing else.

Templates with slots, grouped by the Common Voice sentence domain that they belong to. A slot ``{food}`` is replaced
by one of its fillers, which may hold slots themselves; ``{food2}`` is another filler than the one ``{food}`` took.

Almost every word of a sentence is a slot with many fillers, and few words are fixed. A model that is trained from
scratch on an hour of speech learns long phrases by heart before it learns to listen, if phrases are all that it needs
to guess the next character; here only listening tells which name, hour, place or number comes next. Numbers are
written the way they are read, so that one sound has one spelling.
"""

TEMPLATES = {
    "agriculture_food": """
        {who}{day}食{dish}同{dish2}
        唔該{dish}同{cup}
        {dish}{cheap}{cup}{cheap}
        {fresh}{cheap}{fresh2}{cheap}
        {who}買{n}斤{fresh}{n}斤{fresh2}
        {who}飲{drink}{who2}飲{drink2}
        {dish}同{dish2}一共{cheap}
        {who}想食{food}唔想食{food2}
        唔該{n}斤{fresh}{n}斤{fresh2}
        {who}{day}{clock}食{food}
    """,
    "service_retail": """
        {thing}{price}{thing2}{price}
        {colour}{wear}{price}{colour2}{wear2}{price}
        {who}{past}買{colour}{wear}同{wear2}
        {thing}{price}
        {size}號{wear}{price}
        {who}想買{colour}{wear}同{colour2}{wear2}
        {who}買{thing}{who2}買{thing2}
        {thing}同{thing2}一共{price}
    """,
    "automotive_transport": """
        {who}{day}搭{vehicle}去{place}
        搭{number}號巴士去{place}
        {number}號車{clock}開呀
        {who}喺{place}等{vehicle}
        {place}搭{vehicle}去{place2}
        {who}搭{vehicle}{who2}搭{vehicle2}
        {vehicle}{clock}開{vehicle2}{clock}開
    """,
    "general": """
        {who}{day}{clock}去{place}{hobby}
        {who}同{name}{day}去{place}
        {name}{age}歲{kin}{age}歲
        {who}想{hobby}唔想{hobby2}
        {day}{clock}喺{place}等{name}
        {who}{day}{hobby}{day2}{hobby2}
        {who}去{place}{name}去{place2}
        {who}想{hobby}{name}想{hobby2}
        {day}{clock}去{place}啦
        {who}{clock}返{place}
    """,
    "language_fundamentals": """
        {who}電話{phone}
        {place}電話{phone}
        {month}月{date}號星期{weekday}{clock}
        {month}月{date}號{clock}去{place}
        {digits}號{who}
        {number}同{number}同{number}
        電話{phone}
        {name}打{phone}
        我打{phone}
        {month}月{date}號{who}{hobby}
    """,
    "nature_environment": """
        {place}{number}度{place2}{number}度
        {day}{feel}{day2}{feel2}
        {place}{day}{feel}喎
        {day}{number}度好{temper}
        {place}好{temper}{place2}好{temper2}
        {day}{place}落雨{place2}好{temper}
        {day}{clock}落雨
    """,
    "healthcare": """
        {who}{body}痛{who2}{body2}痛
        {who}{day}{clock}睇醫生
        {who}{day}{body}痛呀
        {who}去{place}睇醫生
        {who}{past}{clock}{body}痛
    """,
}

SLOTS = {
    # people
    "name": "陳生 李太 王生 張太 阿明 阿芳",
    "kin": "爸爸 媽媽 哥哥",
    "who": "我 佢 {kin} {kin} {name} {name} {name}",
    # places
    "place": "中環 旺角 沙田 學校 街市 公司 醫院 機場",
    # time
    "past": "尋日 今日 星期{weekday}",
    "day": "今日 聽日 尋日 今晚 星期{weekday} {month}月{date}號",
    "weekday": "一 二 三 四 五 六 日",
    "month": "一 二 三 四 五 六 七 八 九 十",
    "date": "{d} 十{d} 二十{d}",
    "clock": "{hour}點 {hour}點半 {hour}點{d}個字",
    "hour": "兩 三 四 五 六 七 八 九 十 十一",
    # food
    "dish": "{n}碗{bowl} {n}碟{plate} {n}個{bun}",
    "bowl": "牛肉麵 雞麵 白飯",
    "plate": "叉燒飯 牛肉飯 雞飯",
    "bun": "叉燒包 雞包",
    "food": "牛肉 叉燒 雞 魚 菜 麵 飯",
    "drink": "奶茶 咖啡 水",
    "cup": "{n}杯奶茶 {n}杯咖啡 {n}杯水",
    "fresh": "牛肉 雞 魚 菜",
    # things
    "thing": "衫 鞋 書 電話 紅衫 白鞋 黑鞋 奶茶 咖啡",
    "wear": "衫 鞋 電話",
    "colour": "紅 黑 白",
    "vehicle": "巴士 地鐵 火車",
    # doing
    "hobby": "睇書 打波 飲茶 食飯 返工 買菜 買鞋 睇醫生",
    # nature and body
    "temper": "凍 熱",
    "feel": "好凍 好熱 落雨",
    "body": "頭 肚 手",
    # numbers; "two of something" is 兩, the number two is 二
    "n": "一 兩 三 四 五 六",
    "d": "一 二 三 四 五 六 七 八 九",
    "digit": "零 一 二 三 四 五 六 七 八 九",
    "digits": "{digit}{digit} {digit}{digit}{digit}",
    "size": "{d}十{d} 十{d}",
    "age": "{d}十{d} 十{d}",
    "number": "十{d} {d}十 {d}十{d} {d}百{d}十 {d}百零{d}",
    "cheap": "{d}蚊 十{d}蚊 {d}十蚊 {d}十{d}蚊",
    "price": "{d}十{d}蚊 {d}百{d}十蚊 {d}百零{d}蚊",
}

# Sentences that a reader of Common Voice files must survive: bare double quotes and punctuation.
FIXED_TRAIN = (
    ('我話"今日好凍"佢話"好熱"', "general"),
    ("今日好熱，飲杯奶茶啦！", "agriculture_food"),
    ("阿明，聽日去唔去呀？", "general"),
    ("唔該，中環搭巴士去呀？", "automotive_transport"),
    ("我唔去呀，李太去啦。", "general"),
)
