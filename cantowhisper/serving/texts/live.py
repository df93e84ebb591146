"""What the live page says."""

TEXTS = {  # key: zh-HK, zh-CN, en
    "live.title": ("即時字幕", "实时字幕", "Live captions"),
    "live.head": (
        "一路講一路出字；淡色嘅字仲可能會變。",
        "边说边出字；浅色的字还可能会变。",
        "Text appears while you speak; faint text may still change.",
    ),
    "live.privacy": (
        "聲會送去伺服器轉成文字，唔會存低；錄音同文字只留喺呢個分頁。",
        "声音会送到服务器转成文字，不会保存；录音和文字只留在这个标签页。",
        "Sound is sent to the server to be written down and is not stored there; the recording and the text are kept "
        "in this tab alone.",
    ),
    "live.slow": (
        "呢個模型未匯出，出字會慢好多。管理員：cantowhisper export MODEL。",
        "这个模型未导出，出字会慢很多。管理员：cantowhisper export MODEL。",
        "This model has no export, so text will come late. Operators: cantowhisper export MODEL.",
    ),
    "live.start": ("開始", "开始", "Start"),
    "live.stop": ("停止", "停止", "Stop"),
    "live.leave": ("唔等", "不等了", "Don’t wait"),
    "live.words": ("{words}，一行一個", "{words}，一行一个", "{words}, one a line"),
    "live.hint": ("文字會喺呢度出現。", "文字会在这里出现。", "Text appears here."),
    "live.times": ("時間", "时间", "Times"),
    "live.copy": ("複製", "复制", "Copy"),
    "live.clear": ("清除", "清除", "Clear"),
    "live.at_once": ("同時 {n} 人", "同时 {n} 人", "{n} speakers at once"),
    "live.session": (
        "一節最長 {time}，之後自動開下一節",
        "一节最长 {time}，之后自动开下一节",
        "{time} a session, then the next one opens by itself",
    ),
    "live.open_already": (
        "你已經開咗 {mine} 個，停咗一個先。",
        "你已经开了 {mine} 个，请先停止一个。",
        "{mine} of your sessions are open already; stop one of them first.",
    ),
    # How late the text is
    "live.up_to_date": ("跟得上", "跟得上", "up to date"),
    "live.behind": ("遲咗 {n} 秒", "晚了 {n} 秒", "{n} s behind"),
    "live.usual": ("（呢度通常遲 {n} 秒）", "（这里通常晚 {n} 秒）", " (usually {n} s here)"),
    "live.missing": ("漏咗 {n} 秒聲", "漏了 {n} 秒声音", "{n} s of sound are missing"),
    "live.pace": ("每分鐘 {n} 字", "每分钟 {n} 字", "{n} words a minute"),
    "live.heard": ("聽到係{language}", "听到的是{language}", "{language} (detected)"),
    "live.spoken": ("語言：{language}", "语言：{language}", "Language: {language}"),
    "live.level.longer_step": ("忙緊，出字疏啲", "繁忙，出字较疏", "busy: updates come less often"),
    "live.level.no_tentative": (
        "好忙，淨係顯示確定咗嘅字",
        "很忙，只显示已确定的字",
        "very busy: only final text is shown",
    ),
    "live.level.pauses_only": ("非常忙，停頓嗰陣先出字", "非常忙，停顿时才出字", "overloaded: text comes at pauses"),
    "live.level.full": ("爆滿，停頓嗰陣先出字", "已满，停顿时才出字", "full: text comes at pauses"),
    # Something that stands in the way, until it does no longer
    "live.problem.insecure": (
        "要用 https 或者 localhost 開呢頁，先用到咪高峰。",
        "要用 https 或 localhost 打开本页，才能使用麦克风。",
        "The microphone works only on https or on localhost.",
    ),
    "live.problem.refused": (
        "瀏覽器唔畀用咪高峰，請喺網址列嗰度准許，再撳「開始」。",
        "浏览器不允许使用麦克风，请在地址栏旁允许，再按“开始”。",
        "The microphone was refused: allow it beside the address, then press Start.",
    ),
    "live.problem.absent": (
        "搵唔到咪高峰，請插返好，再撳「開始」。",
        "找不到麦克风，请接好，再按“开始”。",
        "No microphone was found: connect one, then press Start.",
    ),
    "live.problem.taken": (
        "第個程式用緊咪高峰，請閂咗佢，再撳「開始」。",
        "另一个程序正在使用麦克风，请先关闭它，再按“开始”。",
        "Another program is using the microphone: close it, then press Start.",
    ),
    "live.problem.failed": (
        "開唔到咪高峰，請重新載入呢頁再試。",
        "无法打开麦克风，请重新加载本页再试。",
        "The microphone could not be started: reload the page and try again.",
    ),
    "live.problem.unplugged": (
        "咪高峰甩咗；之前講嘅都仲喺度。插返好就可以再撳「開始」。",
        "麦克风断开了；之前说的都还在。接好后可以再按“开始”。",
        "The microphone was unplugged; what was said before is kept. Connect it, then press Start.",
    ),
    "live.problem.asleep": (
        "分頁暫停咗，而家聽唔到；返嚟呢頁就會繼續。",
        "标签页已暂停，现在听不到；回到本页就会继续。",
        "This tab was put to sleep and hears nothing; it goes on when you are back.",
    ),
    "live.problem.offline": (
        "連唔到伺服器。你講嘅嘢會留喺呢個分頁，連返就繼續。",
        "连接不到服务器。你说的话会留在这个标签页，恢复连接后继续。",
        "No connection to the server: what you say is kept in this tab and sent when it is back.",
    ),
    "live.problem.busy": (
        "而家好多人用，等緊位；你講嘅嘢會留住。",
        "现在很多人在用，正在等位；你说的话会保留。",
        "All places are taken: waiting for one. What you say is kept.",
    ),
    "live.problem.no_file": (
        "連唔到伺服器，字幕檔要佢整；TXT 就唔使，請試 TXT，或者遲啲再試。",
        "连接不到服务器，字幕文件由它生成；TXT 不需要服务器，可以先下载 TXT，或稍后再试。",
        "The server makes subtitles and cannot be reached: try again later, or take TXT, which needs no server.",
    ),
    "live.problem.refused_by_server": (
        "伺服器唔接受：{detail}",
        "服务器不接受：{detail}",
        "The server did not accept this: {detail}",
    ),
    # What goes on
    "live.state.idle": ("撳「開始」，然後講嘢。", "按“开始”，然后说话。", "Press Start and speak."),
    "live.state.starting": ("開緊咪高峰…", "正在打开麦克风…", "Starting the microphone …"),
    "live.state.listening": ("聽緊，請講。", "正在听，请说。", "Listening: speak now."),
    "live.state.stopping": ("處理緊最後一句…", "正在处理最后一句…", "Finishing the last sentence …"),
    "live.state.done": ("完成。", "完成。", "Done."),
    "live.state.limit": (
        "到咗一節嘅時限，已經自動開咗下一節，文字會繼續。",
        "到了一节的时限，已自动开了下一节，文字会继续。",
        "The session reached its time limit. The next one was opened by itself, and text goes on.",
    ),
    "live.state.lost": (
        "伺服器嗰邊嘅一節冇咗（可能重新啟動過），由未完成嗰句繼續。",
        "服务器那边的一节没有了（可能重新启动过），从未完成的那句继续。",
        "The server no longer had the session (it may have restarted). It goes on from the unfinished sentence.",
    ),
    "live.state.restored": (
        "之前嘅文字仲喺度，錄音就冇咗。唔要就撳「清除」。",
        "之前的文字还在，录音没有了。不要的话按“清除”。",
        "Your text from before is here; its sound is gone. Press Clear if you do not want it.",
    ),
    "live.state.again": ("撳「開始」再試。", "按“开始”再试。", "Press Start to try again."),
    "live.state.copied": ("複製咗。", "已复制。", "Copied."),
}
