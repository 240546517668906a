// What a tokenizer is made of, before it is put to work: read from files, written to files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/weights/gguf_writer.h"

namespace vernier {

/// Texts of files by their names.
using FileTexts = std::map<std::string, std::string>;

/// A token that is found in the text as it is written, before anything else happens to the text.
/// The meaning of the flags is that of `tokenizers`' AddedVocabulary.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;      // a mark, not text: <|im_end|>
  bool normalized = false;   // is looked for after normalisation, in its normalised form
  bool single_word = false;  // only where no letter or digit stands beside it
  bool lstrip = false;       // takes the spaces before it along
  bool rstrip = false;       // and those after it

  bool operator==(const AddedToken&) const = default;
};

/// A change of the text before it is cut.
struct NormalizerStep {
  enum class Kind { nfc, nfd, nfkc, nfkd, lowercase, strip, prepend, replace };
  Kind kind;
  std::string pattern = {};          // what `replace` looks for
  bool regex = false;                // `pattern` is an expression
  std::string content = {};          // of `prepend` and `replace`
  bool left = false, right = false;  // sides of `strip`

  bool operator==(const NormalizerStep&) const = default;
};

/// What becomes of the matches of a cut. Names and meanings as in `tokenizers`.
enum class SplitBehavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };

/// A cut that comes before byte-pair encoding.
struct PretokenizerStep {
  enum class Kind { digit, digits, regex, literal };  // each digit, runs of digits, `pattern`
  Kind kind;
  std::string pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  // cuts at what does not match

  bool operator==(const PretokenizerStep&) const = default;
};

/// Spaces become `mark`, and the text may get one at its head. Used alone, without other cuts.
struct Metaspace {
  enum class Prepend { first, never, always };  // first: at the head of the whole text only
  std::string mark;
  Prepend prepend = Prepend::always;
  bool split = true;  // every mark begins a piece
};

/// A change of the list of tokens on its way to text.
struct DecoderStep {
  enum class Kind { replace, byte_fallback, fuse, strip, metaspace };
  Kind kind;
  std::string pattern;         // what `replace` and `strip` look for; the mark of `metaspace`
  std::string content;         // of `replace`
  int64_t start = 0, end = 0;  // how many `strip` takes at each end of a token
  bool drops_first = false;    // `metaspace`: marks of the first token vanish
};

/// Joins two neighbours into one token. Earlier merges of a vocabulary go first.
struct Merge {
  int32_t left, right, product;
};

/// Two neighbours as one number.
inline uint64_t pair_key(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

struct TokenizerSpec {
  /// What byte-pair encoding works on: bytes, or the characters of the text. Or none of it: one id
  /// a character; then the fields of BPE are empty.
  enum class Model { byte_level, text, characters };

  std::string source;  // file, for messages
  Model model = Model::byte_level;
  std::vector<NormalizerStep> normalizer;
  std::vector<PretokenizerStep> steps;
  bool gpt2_regex = true;              // after them GPT-2's own expression; bytes only
  std::optional<Metaspace> metaspace;  // text only, and then there are no steps
  std::vector<std::string> tokens;     // by id, as the vocabulary writes them; "" for unused ids
  std::vector<bool> in_model;          // by id: not an added token alone
  std::vector<Merge> merges;           // in order of rank
  int32_t unknown = -1;                // stands for characters that the vocabulary lacks
  bool fuse_unknown = false;           // neighbouring unknown characters are one
  bool byte_fallback = false;          // before that, tokens <0x00> to <0xFF> are tried
  bool ignore_merges = false;          // a piece in the vocabulary is one token, merges or not
  std::vector<AddedToken> added;
  std::vector<DecoderStep> decoder;      // text only
  std::vector<int32_t> prefix, suffix;   // what add_special() puts around a text
  bool has_template = false;             // the file said what that is, and be it nothing
  std::vector<int32_t> ends;             // ids that end a response
  std::optional<int32_t> bos, eos, pad;  // tokens that the files name
  std::string chat_template;
  FileTexts files;  // a folder's tokenizer files as they were
};

/// From GGUF metadata, a folder, or a list of characters. As at Tokenizer::from_...
TokenizerSpec spec_from_gguf(const GgufFile& file);
TokenizerSpec spec_from_folder(const std::filesystem::path& folder);

/// The same from the texts of the folder's files; `where` opens messages, before a file's name.
TokenizerSpec spec_from_files(FileTexts files, const std::string& where);
TokenizerSpec spec_from_characters(const std::string& characters, const std::string& end);

/// Names of a tokenizer's files, which write_spec() writes as they were.
const std::vector<std::string>& tokenizer_files();

/// Those of a model's files that may name the tokens which end a response; the first that does
/// counts.
const std::vector<std::string>& end_files();

/// The key of GGUF metadata that holds a file of the model as it came, in files that Vernier wrote.
std::string gguf_file_key(std::string_view file);

/// The tokenizer as llama.cpp reads it, and its files if there are any. `vocabulary` is the
/// model's, at least as large. A kind of tokenizer that GGUF cannot say is a UsageError.
GgufMetadata gguf_metadata(const TokenizerSpec& spec, int64_t vocabulary);

/// The text of a tokenizer.json alone; `where` opens messages. Names no begin, end or pad token.
TokenizerSpec spec_from_json(std::string_view text, const std::string& where);

/// "characters", "gpt2", "smollm", "olmo", "llama3", "qwen2", "deepseek-r1", "metaspace", or
/// "regex" where a file brings cuts of its own.
std::string kind_of(const TokenizerSpec& spec);

/// Adds the merge of two texts; refuses one of unknown tokens or one that was there already.
class MergeList {
 public:
  explicit MergeList(TokenizerSpec& spec);
  void add(const std::string& left, const std::string& right);
  /// The same for "left right", where neither has a space.
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

/// Writes tokenizer.json and tokenizer_config.json, or the files of the folder that it came from.
void write_spec(const TokenizerSpec& spec, const std::filesystem::path& folder);

}  // namespace vernier
