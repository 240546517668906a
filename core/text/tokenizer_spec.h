// What a tokenizer is made of, before it is put to work: read from files, written to files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/text/bpe.h"

namespace vernier {

class GgufFile;

/// A token that is found in the text as it is written, before anything else happens to the text.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;     // a mark, not text: <|im_end|>
  bool normalized = false;  // is looked for after normalisation
};

/// A cut that comes before the byte level.
struct PretokenizerStep {
  enum class Kind { digit, digits, regex };  // every digit alone, runs of digits, `regex`
  Kind kind;
  std::string regex;
};

struct TokenizerSpec {
  std::string source;       // file, for messages
  bool characters = false;  // one id a character; the fields of BPE are empty then
  bool nfc = false;         // text is brought to normalisation form C
  std::vector<PretokenizerStep> steps;
  bool gpt2_regex = true;           // then GPT-2's own expression
  std::vector<std::string> tokens;  // by id, as the vocabulary writes them
  int32_t num_vocabulary = 0;       // tokens of the model; those after it are added ones alone
  std::vector<Merge> merges;        // in order of rank
  std::vector<AddedToken> added;
  int32_t eos = -1;
  std::optional<int32_t> bos, pad;
  std::string chat_template;
};

/// From GGUF metadata, a folder, or a list of characters. As at Tokenizer::from_...
TokenizerSpec spec_from_gguf(const GgufFile& file);
TokenizerSpec spec_from_folder(const std::filesystem::path& folder);
TokenizerSpec spec_from_characters(const std::string& characters, const std::string& end);

/// "characters", "gpt2", "smollm", or "regex" where a file brings its own expression.
std::string kind_of(const TokenizerSpec& spec);

/// Adds the merge of two texts; refuses one of unknown tokens or one that was there already.
class MergeList {
 public:
  explicit MergeList(TokenizerSpec& spec);
  void add(const std::string& left, const std::string& right);
  /// The same for "left right".
  void add(const std::string& both);

 private:
  [[noreturn]] void refuse(const std::string& merge, std::string_view why) const;
  int32_t find(const std::string& token, const std::string& merge) const;

  TokenizerSpec& spec_;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_set<uint64_t> known_;
};

/// Checks what all sources have in common and completes it: end, begin and pad tokens become added
/// tokens, as in `transformers`. `spec.added` ends up in order of ids.
void finish_spec(TokenizerSpec& spec);

/// Writes tokenizer.json and tokenizer_config.json.
void write_spec(const TokenizerSpec& spec, const std::filesystem::path& folder);

}  // namespace vernier
