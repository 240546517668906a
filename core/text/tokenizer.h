// Text to token ids and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vernier {

class GgufFile;
struct TokenizerSpec;

/// Byte-pair encoding as models use it, on bytes (GPT-2, Llama 3, Qwen, SmolLM) or on characters
/// with byte fallback (Llama 2, Mistral); or one id a character for tiny models. Ids are those of
/// the library `tokenizers`. Immutable and safe to share between threads.
class Tokenizer {
 public:
  /// From GGUF metadata. A tokenizer model or pre-tokenizer that is not known is a UsageError that
  /// names it.
  static Tokenizer from_gguf(const GgufFile& file);

  /// From a model as a user names it: a folder, or a GGUF file. A UsageError where there is none.
  static Tokenizer open(const std::filesystem::path& model);

  /// From a Hugging Face folder: tokenizer.json, tokenizer_config.json for named tokens where it is
  /// there, and generation_config.json or config.json for end tokens. What the files ask for and is
  /// not done here is a UsageError that names it.
  static Tokenizer from_folder(const std::filesystem::path& folder);

  /// From the text of a tokenizer.json alone: without begin, end and pad tokens. `where` opens
  /// messages.
  static Tokenizer from_json(std::string_view text, const std::string& where);

  /// One id a character, in the order of `characters` (UTF-8), then a pad id. `end` is one of them.
  static Tokenizer from_characters(const std::string& characters, const std::string& end);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of `text`. Special tokens written in the text become their ids; none is added.
  /// A character that the vocabulary has no token for is a UsageError that shows it.
  std::vector<int32_t> encode(std::string_view text) const;

  /// `ids` with the tokens around them that the model's files put around every text: a begin token,
  /// an end token, none.
  std::vector<int32_t> add_special(std::vector<int32_t> ids) const;

  /// `ids` with the tokens before them that the model's files put before every text (a begin token,
  /// mostly), where they do not begin so already.
  std::vector<int32_t> add_prefix(std::vector<int32_t> ids) const;

  /// The text of `ids`, special tokens included. Of byte-level models, bytes: they may end inside a
  /// UTF-8 character where the ids do. An id outside the vocabulary is a UsageError; one that the
  /// vocabulary leaves out is nothing.
  std::string decode(std::span<const int32_t> ids) const;

  /// Says that the model has more ids than size(), as models do for round sizes: decode() takes
  /// those for nothing, like `tokenizers`. To be called before others see the tokenizer.
  void cover(int64_t vocabulary);

  int32_t size() const;  // ids are 0 .. size() - 1

  /// Tokens that end a response: those of generation_config.json, else of config.json, else the
  /// tokenizer's end token. None after from_json() alone.
  const std::vector<int32_t>& eos_ids() const;
  bool ends(int32_t id) const;
  int32_t eos_id() const;  // the first of them, -1 where there is none
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> pad_id() const;
  std::optional<int32_t> id_of(std::string_view token) const;  // of a token as it is written
  const std::string& kind() const;  // "characters", "gpt2", "llama3": for messages; see kind_of()

  /// The chat template that came with it (Jinja source), "" where there is none.
  const std::string& chat_template() const;

  /// Writes the tokenizer files of the folder that it came from, byte for byte; otherwise
  /// tokenizer.json and tokenizer_config.json, which `transformers` opens as they are.
  void save(const std::filesystem::path& folder) const;

  /// What it is made of.
  const TokenizerSpec& spec() const;

 private:
  struct Data;
  explicit Tokenizer(TokenizerSpec spec);
  std::unique_ptr<Data> data_;
};

}  // namespace vernier
