"""Fine-tuning on real Cantonese, recipe beside recipe: python -m benchmarks.real_cantonese"""
