#include "core/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "core/base/errors.h"
#include "core/text/added_tokens.h"
#include "core/text/bpe.h"
#include "core/text/normalize.h"
#include "core/text/pretokenize.h"
#include "core/text/tokenizer_spec.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

using Ids = std::vector<int32_t>;

std::unordered_map<std::string_view, int32_t> index_tokens(const TokenizerSpec& spec) {
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(spec.tokens.size());
  for (size_t i = 0; i < spec.tokens.size(); ++i)
    ids.emplace(spec.tokens[i], static_cast<int32_t>(i));
  return ids;
}

std::vector<std::string> expressions(const TokenizerSpec& spec) {
  std::vector<std::string> out;
  for (const PretokenizerStep& step : spec.steps) {
    using Kind = PretokenizerStep::Kind;
    out.push_back(step.kind == Kind::regex   ? step.regex
                  : step.kind == Kind::digit ? std::string(kDigitRegex)
                                             : std::string(kDigitsRegex));
  }
  if (spec.gpt2_regex) out.emplace_back(kGpt2Regex);
  return out;
}

// Calls `token` with each added token of `text` and `between` with what lies between them.
template <class Token, class Between>
void cut(const TokenMatcher& matcher, std::string_view text, const Token& token,
         const Between& between) {
  size_t done = 0;
  while (const auto match = matcher.next(text, done)) {
    if (match->begin > done) between(text.substr(done, match->begin - done));
    token(match->id);
    done = match->end;
  }
  if (done < text.size()) between(text.substr(done));
}

}  // namespace

struct Tokenizer::Data {
  explicit Data(TokenizerSpec from);

  void encode_segment(std::string_view text, Bpe::Scratch& scratch, Ids& ids) const;
  void encode_normalized(std::string_view text, Bpe::Scratch& scratch, Ids& ids) const;
  void encode_characters(std::string_view text, Ids& ids) const;

  TokenizerSpec spec;
  std::string kind;
  std::unordered_map<std::string_view, int32_t> ids;  // keys are in `spec`
  std::vector<std::string> bytes;                     // what each id stands for
  TokenMatcher raw_tokens, normalized_tokens;         // looked for before and after normalisation
  std::optional<Pretokenizer> pretokenizer;           // these two not for characters
  std::optional<Bpe> bpe;
};

Tokenizer::Data::Data(TokenizerSpec from)
    : spec(std::move(from)), kind(kind_of(spec)), ids(index_tokens(spec)) {
  for (const std::string& token : spec.tokens)
    bytes.push_back(spec.characters ? token : bytes_of_token(token));
  for (const AddedToken& token : spec.added) {
    bytes[static_cast<size_t>(token.id)] = token.content;
    if (token.normalized)
      normalized_tokens.add(spec.nfc ? to_nfc(token.content) : token.content, token.id);
    else
      raw_tokens.add(token.content, token.id);
  }
  if (spec.characters) return;
  std::array<int32_t, 256> byte_ids;
  for (size_t byte = 0; byte < byte_ids.size(); ++byte) {
    const auto found = ids.find(byte_symbol(static_cast<uint8_t>(byte)));
    const bool known = found != ids.end() && found->second < spec.num_vocabulary;
    byte_ids[byte] = known ? found->second : -1;
  }
  bpe.emplace(byte_ids, spec.merges);
  pretokenizer.emplace(expressions(spec));
}

// Text without raw tokens. Bytes that are not UTF-8, which no expression can match, are pieces of
// their own, so that decode() gives them back.
void Tokenizer::Data::encode_segment(std::string_view text, Bpe::Scratch& scratch, Ids& out) const {
  while (!text.empty()) {
    const size_t valid = valid_length(text);
    if (valid > 0) encode_normalized(text.substr(0, valid), scratch, out);
    if (valid < text.size()) bpe->encode(text.substr(valid, 1), scratch, out);
    text.remove_prefix(std::min(valid + 1, text.size()));
  }
}

void Tokenizer::Data::encode_normalized(std::string_view text, Bpe::Scratch& scratch,
                                        Ids& out) const {
  std::string normal;
  if (spec.nfc) text = normal = to_nfc(text);
  cut(
      normalized_tokens, text, [&](int32_t id) { out.push_back(id); },
      [&](std::string_view plain) {
        for (const std::string_view piece : pretokenizer->split(plain))
          bpe->encode(piece, scratch, out);
      });
}

void Tokenizer::Data::encode_characters(std::string_view text, Ids& out) const {
  while (!text.empty()) {
    const size_t length = character_length(text);
    if (length == 0)
      fail("the text has the byte ", int{static_cast<unsigned char>(text[0])},
           ", which is not UTF-8");
    const auto found = ids.find(text.substr(0, length));
    if (found == ids.end())
      fail("the character '", text.substr(0, length), "' is not one of the ",
           spec.tokens.size() - 1, " that this model knows");
    out.push_back(found->second);
    text.remove_prefix(length);
  }
}

Tokenizer::Tokenizer(std::unique_ptr<Data> data) : data_(std::move(data)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_gguf(const GgufFile& file) {
  return Tokenizer(std::make_unique<Data>(spec_from_gguf(file)));
}

Tokenizer Tokenizer::open(const std::filesystem::path& model) {
  if (!std::filesystem::exists(model))
    fail(model.string(), ": no such model; expected a folder or a .gguf file");
  return std::filesystem::is_directory(model) ? from_folder(model)
                                              : from_gguf(GgufFile(model.string()));
}

Tokenizer Tokenizer::from_folder(const std::filesystem::path& folder) {
  return Tokenizer(std::make_unique<Data>(spec_from_folder(folder)));
}

Tokenizer Tokenizer::from_characters(const std::string& characters, const std::string& end) {
  return Tokenizer(std::make_unique<Data>(spec_from_characters(characters, end)));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  Ids out;
  Bpe::Scratch scratch;
  cut(
      data_->raw_tokens, text, [&](int32_t id) { out.push_back(id); },
      [&](std::string_view plain) {
        if (data_->spec.characters)
          data_->encode_characters(plain, out);
        else
          data_->encode_segment(plain, scratch, out);
      });
  return out;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string out;
  for (const int32_t id : ids) {
    if (id < 0 || id >= size())
      fail("token id ", id, " is outside the vocabulary of ", size(), " tokens");
    out += data_->bytes[static_cast<size_t>(id)];
  }
  return out;
}

int32_t Tokenizer::size() const { return static_cast<int32_t>(data_->bytes.size()); }
int32_t Tokenizer::eos_id() const { return data_->spec.eos; }
std::optional<int32_t> Tokenizer::bos_id() const { return data_->spec.bos; }
std::optional<int32_t> Tokenizer::pad_id() const { return data_->spec.pad; }

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto found = data_->ids.find(token);
  if (found == data_->ids.end()) return std::nullopt;
  return found->second;
}

const std::string& Tokenizer::kind() const { return data_->kind; }
const std::string& Tokenizer::chat_template() const { return data_->spec.chat_template; }

void Tokenizer::save(const std::filesystem::path& folder) const { write_spec(data_->spec, folder); }

}  // namespace vernier
