"""A Whisper checkpoint as ONNX graphs with 8-bit weights; needs NumPy, onnx and safetensors, and no torch."""
