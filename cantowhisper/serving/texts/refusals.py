"""Why something is not served, and what to do."""

TEXTS = {  # key: zh-HK, zh-CN, en
    # Of the server
    "refusal.full_disk": (
        "呢度冇位存檔案，遲啲再試。",
        "服务器没有空间存文件，请稍后再试。",
        "The server's disk is full; please try again later.",
    ),
    "refusal.closing": (
        "呢版重新啟動緊，一分鐘後再試。",
        "本页正在重新启动，请一分钟后再试。",
        "The page is being restarted; please try again in a minute.",
    ),
    "refusal.unforeseen": (
        "出咗錯，請再試一次。",
        "出错了，请再试一次。",
        "Something went wrong here; please try again.",
    ),
    "refusal.other": ("做唔到：{detail}", "无法完成：{detail}", "{detail}"),
    "refusal.no_page": ("冇呢版。", "没有这个页面。", "There is no such page."),
    "refusal.too_quick": (
        "太快喇，等一陣先。",
        "请求太快，请稍等。",
        "Too many requests in a short time; please wait a moment.",
    ),
    "refusal.under_way": (
        "你已經有 {mine} 個請求做緊，等佢哋做完先。",
        "你已有 {mine} 个请求正在处理，请等它们完成。",
        "{mine} of your requests are under way already; let them finish first.",
    ),
    "refusal.many_wait": (
        "而家太多人，請遲啲再試。",
        "现在人太多，请稍后再试。",
        "Too many people are waiting; please try again later.",
    ),
    "refusal.hourly": (
        "每小時最多 {most} 次，{minutes} 分鐘後再試。",
        "每小时最多 {most} 次，请 {minutes} 分钟后再试。",
        "{most} requests an hour are allowed; come back in {minutes} min.",
    ),
    "refusal.hourly_bytes": (
        "每小時最多上載 {most}，{minutes} 分鐘後再試。",
        "每小时最多上传 {most}，请 {minutes} 分钟后再试。",
        "{most} of uploads an hour are allowed; come back in {minutes} min.",
    ),
    # Of requests
    "request.stands_still": ("請求停咗。", "请求停住了。", "The request stands still."),
    "request.large": ("請求太大。", "请求太大。", "The request is too large; upload files instead."),
    "request.no_json": (
        "請求唔係 JSON。",
        "请求不是 JSON。",
        "The request is not the JSON that the API page describes.",
    ),
    "request.no_upload": (
        "檔案要先上載，唔可以係網址。",
        "文件要先上传，不能是网址。",
        "A file must be uploaded first; addresses of other servers are not fetched here (the endpoint for links is "
        "/transcribe_url).",
    ),
    "form.fields": (
        "表格多過 {most} 項。",
        "表单超过 {most} 项。",
        "The form has more than {most} fields.",
    ),
    "form.one_file": ("一次一個檔案。", "一次一个文件。", "At most 1 file at a time."),
    "form.files": ("一次最多 {most} 個檔案。", "一次最多 {most} 个文件。", "At most {most} files at a time."),
    "form.long_field": (
        "「{name}」太長，上限係 {most}。",
        "“{name}”太长，上限是 {most}。",
        "The field {name!r} is longer than {most}.",
    ),
    "form.large_file": (
        "檔案太大，上限係 {most}。淨係上載聲，或者一部分。",
        "文件太大，上限是 {most}。请只上传声音或其中一部分。",
        "The file is too large; the limit is {most}. Upload only its sound, or a part.",
    ),
    "form.no_form": (
        "請用 multipart/form-data 上載。",
        "请用 multipart/form-data 上传。",
        "Send the recording as multipart/form-data.",
    ),
    "form.unreadable": (
        "表格讀唔到。",
        "表单无法读取。",
        "The form cannot be read; send it as multipart/form-data.",
    ),
    "upload.stands_still": (
        "上載停咗，請再試。",
        "上传停住了，请再试。",
        "The upload stands still; please try again.",
    ),
    "upload.large": ("上載太大。", "上传的内容太大。", "The upload is too large."),
    "upload.unknown": ("冇呢個上載。", "没有这个上传。", "There is no such upload."),
    # Of what somebody asks for
    "ask.nothing": ("冇檔案亦冇連結。", "既没有文件也没有链接。", "Neither a file nor a link was given."),
    "ask.beam": ("beam 只可以係 1 或者 5。", "beam 只能是 1 或 5。", "The beam size is 1 or 5."),
    "ask.files": ("一次最多 {most} 個檔案。", "一次最多 {most} 个文件。", "{most} files at once at most."),
    "ask.large_file": (
        "檔案太大（{size}），上限係 {most}。淨係上載聲，或者一部分。",
        "文件太大（{size}），上限是 {most}。请只上传声音或其中一部分。",
        "The file has {size}; the limit is {most}. Upload only its sound, or a part.",
    ),
    "ask.long_list": (
        "名單有 {n} 個字元，最多 {most} 個。",
        "名单有 {n} 个字符，最多 {most} 个。",
        "the list of words has {n} characters; at most {most} are taken",
    ),
    "ask.many_words": (
        "名單有 {n} 個詞，最多 {most} 個。",
        "名单有 {n} 个词，最多 {most} 个。",
        "the list has {n} words; at most {most} are taken",
    ),
    "ask.long_word": (
        "名單入面「{word}…」有 {n} 個字元，最多 {most} 個。",
        "名单中“{word}…”有 {n} 个字符，最多 {most} 个。",
        "{word}… in the list of words has {n} characters; at most {most}",
    ),
    # Of recordings
    "sound.unreadable": (
        "呢個檔案讀唔到，或者入面冇聲軌。請用 WAV、MP3、M4A、OGG、FLAC、WebM、MP4 或者 MOV。",
        "这个文件无法读取，或者没有音轨。请用 WAV、MP3、M4A、OGG、FLAC、WebM、MP4 或 MOV。",
        "The file cannot be read, or has no sound; use WAV, MP3, M4A, OGG, FLAC, WebM, MP4 or MOV.",
    ),
    "sound.empty": (
        "檔案入面冇聲，請再錄過。",
        "文件里没有声音，请重新录制。",
        "The recording holds no sound; record it again.",
    ),
    "sound.too_long": (
        "錄音長過 {limit} 秒，請剪短啲再試。",
        "录音超过 {limit} 秒，请剪短后再试。",
        "The recording is longer than {limit} s; cut it into shorter pieces.",
    ),
    "sound.not_opened": (
        "個檔案開唔到，請再上載一次。",
        "文件无法打开，请重新上传。",
        "The file cannot be opened; upload it again.",
    ),
    # Of links
    "link.no_server": (
        "搵唔到呢個網址嘅伺服器，請睇清楚條連結。",
        "找不到这个网址的服务器，请检查链接。",
        "No server has this name; check the link.",
    ),
    "link.not_public": (
        "呢個網址唔係公開嘅（只可以係公開網絡嘅 80 同 443 埠）；請自己下載，再上載檔案。",
        "这个网址不是公开的（只能是公网的 80 和 443 端口）；请自行下载，再上传文件。",
        "The link leads to an address or port that is not public (only ports 80 and 443 of the open internet); "
        "download the file and upload it instead.",
    ),
    "link.bad_name": (
        "呢個網址嘅伺服器名唔啱，請睇清楚條連結。",
        "这个网址的服务器名不正确，请检查链接。",
        "The link's server has a name that cannot be; check the link.",
    ),
    "link.redirects": (
        "轉址多過 {most} 次，請畀最後嗰個網址。",
        "重定向超过 {most} 次，请给出最终的网址。",
        "The link redirects more than {most} times; give the final address.",
    ),
    "link.scheme": (
        "只可以用 http:// 或者 https:// 開頭嘅完整網址。",
        "只能用以 http:// 或 https:// 开头的完整网址。",
        "Only whole links that begin with http:// or https:// are fetched.",
    ),
    "link.password": (
        "網址入面唔可以有用戶名或者密碼。",
        "网址里不能有用户名或密码。",
        "Links with a name or password in them are not fetched.",
    ),
    "link.status": (
        "伺服器話唔得（{status}），請睇清楚條連結。",
        "服务器拒绝了（{status}），请检查链接。",
        "The server answered {status}; check the link.",
    ),
    "link.web_page": (
        "呢個網址係網頁或者播放清單，唔係錄音。請畀檔案本身嘅網址，或者自己下載再上載。",
        "这个网址是网页或播放列表，不是录音。请给出文件本身的网址，或自行下载再上传。",
        "The link leads to a web page or a playlist, not to a recording; give the address of the file itself, or "
        "download it and upload it here.",
    ),
    "link.packed": (
        "伺服器用咗呢度唔識嘅壓縮。",
        "服务器使用了这里不认识的压缩方式。",
        "The server packs the file in a way that is not known here.",
    ),
    "link.certificate": (
        "個網站嘅證書有問題，唔會下載。",
        "该网站的证书有问题，不会下载。",
        "The site's certificate is not valid; the link is not fetched.",
    ),
    "link.failed": (
        "下載唔到。請再試，或者自己下載再上載。",
        "下载失败。请再试，或自行下载再上传。",
        "The download failed; try again, or download the file and upload it here.",
    ),
    "link.slow": (
        "下載長過 {seconds} 秒，或者停咗；請自己下載再上載。",
        "下载超过 {seconds} 秒，或停住了；请自行下载再上传。",
        "The download takes longer than {seconds} s or stands still; download the file and upload it here.",
    ),
    "link.large": (
        "檔案大過 {most}；請淨係上載聲。",
        "文件大于 {most}；请只上传声音。",
        "The file is larger than {most}; upload only its sound.",
    ),
    "link.many": (
        "而家太多下載，請遲啲再試。",
        "现在下载太多，请稍后再试。",
        "Too many links are being fetched; please try again later.",
    ),
    "video.live": (
        "直播用唔到，請用播完嘅短片。",
        "直播不能用，请给出已结束的视频。",
        "This is a live stream; give a video that has ended.",
    ),
    "video.long": (
        "條片太長，上限係 {minutes} 分鐘。",
        "视频太长，上限是 {minutes} 分钟。",
        "The video is longer than {minutes} min.",
    ),
    "video.large": (
        "條片太大，請淨係上載聲。",
        "视频太大，请只上传声音。",
        "The video is too large; upload only its sound.",
    ),
    "video.advice": (
        "{why}。請喺自己部電腦下載條片，再上載檔案：實得。",
        "{why}。请在自己的电脑上下载视频，再上传文件：这样总是可行的。",
        "{why}. Download the video on your own computer and upload the file here: that always works.",
    ),
    "video.none_here": (
        "呢版唔下載 YouTube 連結",
        "本页不下载 YouTube 链接",
        "Links to YouTube are not fetched on this page",
    ),
    "video.refused": (
        "YouTube 唔畀伺服器攞呢條片",
        "YouTube 不让服务器获取这个视频",
        "YouTube does not give this video to servers",
    ),
    "video.no_sound": (
        "條片冇攞得到嘅聲，或者太大",
        "视频没有可获取的声音，或太大",
        "The video has no sound that can be fetched, or is too large",
    ),
    "video.slow": ("YouTube 傳得太慢", "YouTube 传得太慢", "YouTube sends the video too slowly"),
}
