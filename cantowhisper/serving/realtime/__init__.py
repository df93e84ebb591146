"""Live text for programs, over a WebSocket, in the shape of OpenAI's realtime transcription sessions."""
