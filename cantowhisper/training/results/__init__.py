"""What a trained model is worth and what is made of it: scores, exports, the Hub."""
