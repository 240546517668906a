#include "core/text/tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "core/base/errors.h"
#include "core/text/added_tokens.h"
#include "core/text/bpe.h"
#include "core/text/decoder.h"
#include "core/text/normalizer.h"
#include "core/text/pretokenize.h"
#include "core/text/tokenizer_spec.h"
#include "core/text/unicode.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

using Ids = std::vector<int32_t>;
using Model = TokenizerSpec::Model;

std::unordered_map<std::string_view, int32_t> index_tokens(const TokenizerSpec& spec) {
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(spec.tokens.size());
  for (size_t i = 0; i < spec.tokens.size(); ++i)
    if (!spec.tokens[i].empty()) ids.emplace(spec.tokens[i], static_cast<int32_t>(i));
  return ids;
}

// One call of encode().
struct Work {
  Ids ids;
  Bpe::Scratch bpe;
  Pretokenizer::Scratch pieces;
};

}  // namespace

struct Tokenizer::Data {
  explicit Data(TokenizerSpec from);

  void index_added();
  void encode_segment(std::string_view text, bool at_head, Work& work) const;
  void encode_valid(std::string_view text, bool at_head, Work& work) const;
  void encode_characters(std::string_view text, Ids& ids) const;

  TokenizerSpec spec;
  std::string kind;
  std::unordered_map<std::string_view, int32_t> ids;  // keys are in `spec`
  std::vector<std::string> texts;                     // what each id is before the decoder
  AddedTokens raw_tokens, normalized_tokens;          // looked for before and after normalisation
  Normalizer normalizer;
  std::optional<Pretokenizer> pretokenizer;  // these two not for characters
  std::optional<Bpe> bpe;
};

Tokenizer::Data::Data(TokenizerSpec from)
    : spec(std::move(from)),
      kind(kind_of(spec)),
      ids(index_tokens(spec)),
      texts(spec.tokens),
      normalizer(spec.normalizer) {
  index_added();
  if (spec.model == Model::byte_level)
    for (std::string& text : texts) text = bytes_of_token(text);
  if (spec.model == Model::characters) return;
  bpe.emplace(spec);
  pretokenizer.emplace(spec);
}

// A token that is looked for in its normalised form is decoded as that form, too.
void Tokenizer::Data::index_added() {
  for (const AddedToken& token : spec.added) {
    const std::string content = token.normalized ? normalizer.apply(token.content) : token.content;
    if (content.empty())
      fail(spec.source, ": added token '", token.content, "' is empty once it is normalised");
    texts[static_cast<size_t>(token.id)] = content;
    if (!(token.normalized ? normalized_tokens : raw_tokens).add(content, token))
      fail(spec.source, ": added token '", token.content, "' is the same as another one");
  }
}

// Text without raw tokens. Bytes that are not UTF-8, which no expression can match, are pieces of
// their own, so that decode() gives them back.
void Tokenizer::Data::encode_segment(std::string_view text, bool at_head, Work& work) const {
  while (!text.empty()) {
    const size_t valid = valid_length(text);
    if (valid > 0) encode_valid(text.substr(0, valid), at_head, work);
    if (valid < text.size()) bpe->encode(text.substr(valid, 1), work.bpe, work.ids);
    text.remove_prefix(std::min(valid + 1, text.size()));
    at_head = false;
  }
}

void Tokenizer::Data::encode_valid(std::string_view text, bool at_head, Work& work) const {
  std::string normal;
  if (!normalizer.empty())
    text = normal = placed(spec.source, [&] { return normalizer.apply(text); });
  normalized_tokens.cut(
      text, [&](int32_t id) { work.ids.push_back(id); },
      [&](std::string_view plain, size_t place) {
        for (const std::string_view piece : placed(spec.source, [&] {
               return pretokenizer->split(plain, at_head && place == 0, work.pieces);
             }))
          bpe->encode(piece, work.bpe, work.ids);
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

Tokenizer::Tokenizer(TokenizerSpec spec) : data_(std::make_unique<Data>(std::move(spec))) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_gguf(const GgufFile& file) { return Tokenizer(spec_from_gguf(file)); }

Tokenizer Tokenizer::open(const std::filesystem::path& model) {
  if (!std::filesystem::exists(model))
    fail(model.string(), ": no such model; expected a folder or a .gguf file");
  return std::filesystem::is_directory(model) ? from_folder(model)
                                              : from_gguf(GgufFile(model.string()));
}

Tokenizer Tokenizer::from_folder(const std::filesystem::path& folder) {
  return Tokenizer(spec_from_folder(folder));
}

Tokenizer Tokenizer::from_json(std::string_view text, const std::string& where) {
  TokenizerSpec spec = spec_from_json(text, where);
  spec.files["tokenizer.json"] = text;
  return Tokenizer(std::move(spec));
}

Tokenizer Tokenizer::from_characters(const std::string& characters, const std::string& end) {
  return Tokenizer(spec_from_characters(characters, end));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  Work work;
  data_->raw_tokens.cut(
      text, [&](int32_t id) { work.ids.push_back(id); },
      [&](std::string_view plain, size_t place) {
        if (data_->spec.model == Model::characters)
          data_->encode_characters(plain, work.ids);
        else
          data_->encode_segment(plain, place == 0, work);
      });
  return std::move(work.ids);
}

std::vector<int32_t> Tokenizer::add_special(std::vector<int32_t> ids) const {
  const TokenizerSpec& spec = data_->spec;
  ids.insert(ids.begin(), spec.prefix.begin(), spec.prefix.end());
  ids.insert(ids.end(), spec.suffix.begin(), spec.suffix.end());
  return ids;
}

std::vector<int32_t> Tokenizer::add_prefix(std::vector<int32_t> ids) const {
  const std::vector<int32_t>& prefix = data_->spec.prefix;
  const bool there =
      ids.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), ids.begin());
  if (!there) ids.insert(ids.begin(), prefix.begin(), prefix.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::vector<std::string> tokens;
  std::string out;
  const bool joined = data_->spec.model != Model::text;
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= data_->texts.size())
      fail("token id ", id, " is outside the vocabulary of ", data_->texts.size(), " tokens");
    const std::string& text = data_->texts[static_cast<size_t>(id)];
    if (joined)
      out += text;
    else if (!text.empty())  // an id that the vocabulary leaves out is no token
      tokens.push_back(text);
  }
  return joined ? out : decode_tokens(data_->spec.decoder, std::move(tokens));
}

void Tokenizer::cover(int64_t vocabulary) {
  if (vocabulary > size()) data_->texts.resize(static_cast<size_t>(vocabulary));
}

int32_t Tokenizer::size() const { return static_cast<int32_t>(data_->spec.tokens.size()); }
const std::vector<int32_t>& Tokenizer::eos_ids() const { return data_->spec.ends; }

bool Tokenizer::ends(int32_t id) const {
  const auto& ends = data_->spec.ends;
  return std::find(ends.begin(), ends.end(), id) != ends.end();
}

int32_t Tokenizer::eos_id() const { return data_->spec.ends.empty() ? -1 : data_->spec.ends[0]; }
std::optional<int32_t> Tokenizer::bos_id() const { return data_->spec.bos; }
std::optional<int32_t> Tokenizer::pad_id() const { return data_->spec.pad; }

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto found = data_->ids.find(token);
  if (found == data_->ids.end()) return std::nullopt;
  return found->second;
}

const std::string& Tokenizer::kind() const { return data_->kind; }
const std::string& Tokenizer::chat_template() const { return data_->spec.chat_template; }

const TokenizerSpec& Tokenizer::spec() const { return data_->spec; }

void Tokenizer::save(const std::filesystem::path& folder) const { write_spec(data_->spec, folder); }

}  // namespace vernier
