"""Exchange with other toolkits: fairseq, HAT, transformers, CTranslate2 and ONNX Runtime.

Reading needs none of fairseq and HAT, and executes no code from a file.
"""
