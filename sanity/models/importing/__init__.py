"""ONNX graphs as functions of TensorFlow, their weights as live variables."""
