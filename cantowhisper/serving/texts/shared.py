"""What both pages say."""

TEXTS = {  # key: zh-HK, zh-CN, en
    "languages": ("介面語言", "界面语言", "Language of the page"),
    "limits": ("上限", "上限", "Limits"),
    "language": ("語言", "语言", "Language"),
    "language.detect": ("自動", "自动检测", "Detect"),
    "script": ("繁簡", "繁简", "Script"),
    "script.default": ("預設", "默认", "Default"),
    "script.as_is": ("原樣", "原样", "As is"),
    "script.traditional": ("繁體", "繁体", "Traditional"),
    "script.simplified": ("簡體", "简体", "Simplified"),
    "words": ("名同專有名詞", "人名和专有名词", "Names and terms"),
    "text": ("文字", "文字", "Text"),
    "recording": ("錄音", "录音", "Recording"),
    "play_from": ("由 {at} 播放", "从 {at} 播放", "Play from {at}"),
    "speaker.number": ("講者 {number}", "说话人 {number}", "Speaker {number}"),
    "speaker.turn": ("{name}：{text}", "{name}：{text}", "{name}: {text}"),
    "seconds": ("{n} 秒", "{n} 秒", "{n} s"),
    "minutes": ("{n} 分鐘", "{n} 分钟", "{n} min"),
    "hours": ("{n} 小時", "{n} 小时", "{n} h"),
}
