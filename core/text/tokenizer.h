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

/// Byte-level BPE as models use it, or one id a character for tiny models. Immutable and safe to
/// share between threads.
class Tokenizer {
 public:
  /// From GGUF metadata. A tokenizer model or pre-tokenizer that is not known is a UsageError that
  /// names it.
  static Tokenizer from_gguf(const GgufFile& file);

  /// From a model as a user names it: a folder, or a GGUF file. A UsageError where there is none.
  static Tokenizer open(const std::filesystem::path& model);

  /// From a Hugging Face folder: tokenizer.json, and tokenizer_config.json for the end token where
  /// it is there. What the file asks for and is not done here is a UsageError that names it.
  static Tokenizer from_folder(const std::filesystem::path& folder);

  /// One id a character, in the order of `characters` (UTF-8), then a pad id. `end` is one of them.
  static Tokenizer from_characters(const std::string& characters, const std::string& end);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of `text`. Special tokens written in the text become their ids; none is added.
  /// A character that a character tokenizer does not have is a UsageError that shows it.
  std::vector<int32_t> encode(std::string_view text) const;

  /// Bytes of `ids`, special tokens included. May end inside a UTF-8 character where the ids do.
  /// An id outside the vocabulary is a UsageError.
  std::string decode(std::span<const int32_t> ids) const;

  int32_t size() const;    // ids are 0 .. size() - 1
  int32_t eos_id() const;  // ends a response
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> pad_id() const;
  std::optional<int32_t> id_of(std::string_view token) const;  // of a token as it is written
  const std::string& kind() const;  // "characters", "gpt2", "smollm": for messages

  /// The chat template that came with it (Jinja source), "" where there is none.
  const std::string& chat_template() const;

  /// Writes tokenizer.json and tokenizer_config.json, which `transformers` opens as they are.
  void save(const std::filesystem::path& folder) const;

 private:
  struct Data;
  explicit Tokenizer(std::unique_ptr<Data> data);
  std::unique_ptr<Data> data_;
};

}  // namespace vernier
