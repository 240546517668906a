// Expressions by which well-known tokenizers cut their text, in Oniguruma's syntax.
#pragma once

namespace vernier {

/// GPT-2's own expression, which the pre-tokenizer ByteLevel uses. (OpenAI's gpt-2, encoder.py.)
extern const char* const kGpt2Regex;

/// The expression of Llama 3, SmolLM3, OLMo 2 and of DeepSeek-R1's Llama distills: up to three
/// digits a piece. That of Qwen 2 to 3 and of DeepSeek-R1's Qwen distills: one digit a piece.
/// (tokenizer.json of these; llama.cpp names them llama-bpe and qwen2.)
extern const char* const kLlama3Regex;
extern const char* const kQwen2Regex;

/// The cuts of DeepSeek-V3 and R1, in this order.
extern const char* const kDeepSeekRegexes[3];

/// One character: the cut that files of one id a character have.
extern const char* const kAnyCharacter;

/// The begin token of DeepSeek's models.
extern const char* const kDeepSeekBegin;

/// The mark that stands for a space in vocabularies of SentencePiece, U+2581.
extern const char* const kSpaceMark;

}  // namespace vernier
