#include "core/text/tokenizer_parts.h"

#include "core/base/errors.h"
#include "core/text/regex.h"
#include "core/text/unicode.h"

namespace vernier {
namespace {

using Field = JsonField;
using Model = TokenizerSpec::Model;

std::string read_character(const Field& field) {
  const std::string& text = field.text();
  if (text.empty() || character_length(text) != text.size())
    field.refuse("'", text, "' is not one character");
  return text;
}

// {"String": ...} or {"Regex": ...}; true for the latter.
bool read_pattern(const Field& field, std::string& pattern) {
  field.only({"String", "Regex"});
  const bool regex = field.has("Regex");
  if (regex == field.has("String")) field.refuse("has to have one of String and Regex");
  const Field text = field.at(regex ? "Regex" : "String");
  pattern = text.text();
  if (pattern.empty()) text.refuse("is empty");
  if (regex) placed(text.where(), [&] { return Regex(pattern); });  // here its place is known
  return regex;
}

// What takes the place of a match, or goes before a text.
std::string read_content(const Field& field) {
  constexpr size_t kMost = 512;  // bytes; a text must not grow without bound
  const std::string& text = field.text();
  if (text.size() > kMost)
    field.refuse("has ", text.size(), " bytes; up to ", kMost, " are allowed");
  return text;
}

void read_normalizer_step(const Field& field, TokenizerSpec& spec) {
  using Kind = NormalizerStep::Kind;
  const std::string type = field.type();
  if (type == "Sequence") {
    field.only({"type", "normalizers"});
    const Field list = field.at("normalizers");
    for (size_t i = 0; i < list.entries(); ++i) read_normalizer_step(list.entry(i), spec);
    return;
  }
  NormalizerStep step{};
  if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD" || type == "Lowercase") {
    field.only({"type"});
    step.kind = type == "NFC"    ? Kind::nfc
                : type == "NFD"  ? Kind::nfd
                : type == "NFKC" ? Kind::nfkc
                : type == "NFKD" ? Kind::nfkd
                                 : Kind::lowercase;
  } else if (type == "Strip") {
    field.only({"type", "strip_left", "strip_right"});
    step.kind = Kind::strip;
    step.left = field.at("strip_left").truth();
    step.right = field.at("strip_right").truth();
  } else if (type == "Prepend") {
    field.only({"type", "prepend"});
    step.kind = Kind::prepend;
    step.content = read_content(field.at("prepend"));
  } else if (type == "Replace") {
    field.only({"type", "pattern", "content"});
    step.kind = Kind::replace;
    step.regex = read_pattern(field.at("pattern"), step.pattern);
    step.content = read_content(field.at("content"));
  } else {
    field.refuse("type '", type, "' is not supported; NFC, NFD, NFKC, NFKD, Lowercase, Strip, ",
                 "Prepend, Replace and Sequence are");
  }
  spec.normalizer.push_back(std::move(step));
}

SplitBehavior read_behavior(const Field& field) {
  const std::string& name = field.text();
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  field.refuse("'", name, "' is not supported; Isolated, Removed, MergedWithPrevious, ",
               "MergedWithNext and Contiguous are");
}

void read_step(const Field& step, TokenizerSpec& spec) {
  using Kind = PretokenizerStep::Kind;
  PretokenizerStep out{};
  if (step.type() == "Split") {
    step.only({"type", "pattern", "behavior", "invert"});
    out.kind = read_pattern(step.at("pattern"), out.pattern) ? Kind::regex : Kind::literal;
    out.behavior = read_behavior(step.at("behavior"));
    out.invert = step.flag("invert", false);
  } else if (step.type() == "Digits") {
    step.only({"type", "individual_digits"});
    out.kind = step.flag("individual_digits", false) ? Kind::digit : Kind::digits;
  } else {
    step.refuse("type '", step.type(), "' is not supported here; Split and Digits are, and ",
                "ByteLevel as the last one or Metaspace alone");
  }
  spec.steps.push_back(std::move(out));
}

void read_byte_level(const Field& step, TokenizerSpec& spec) {
  step.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  if (step.flag("add_prefix_space", true)) step.refuse("add_prefix_space has to be false");
  spec.model = Model::byte_level;
  spec.gpt2_regex = step.flag("use_regex", true);  // `trim_offsets` does not touch ids
}

// Fields that the pre-tokenizer and the decoder Metaspace have in common. Before version 0.14 of
// `tokenizers` there was `add_prefix_space` alone.
Metaspace read_metaspace(const Field& field) {
  using Prepend = Metaspace::Prepend;
  field.only({"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  Metaspace out;
  out.mark = read_character(field.at("replacement"));
  out.split = field.flag("split", true);
  if (field.has("prepend_scheme")) {
    const Field scheme = field.at("prepend_scheme");
    const std::string& name = scheme.text();
    if (name != "always" && name != "first" && name != "never")
      scheme.refuse("'", name, "' is not supported; always, first and never are");
    out.prepend = name == "always"  ? Prepend::always
                  : name == "first" ? Prepend::first
                                    : Prepend::never;
    if (!field.flag("add_prefix_space", true) && out.prepend != Prepend::never)
      scheme.refuse("'", name, "' contradicts add_prefix_space, which is false");
  } else if (!field.flag("add_prefix_space", true)) {
    field.refuse("add_prefix_space is false without a prepend_scheme of 'never'");
  }
  return out;
}

void read_decoder_step(const Field& field, TokenizerSpec& spec) {
  using Kind = DecoderStep::Kind;
  const std::string type = field.type();
  DecoderStep step{};
  if (type == "Sequence") {
    field.only({"type", "decoders"});
    const Field list = field.at("decoders");
    for (size_t i = 0; i < list.entries(); ++i) read_decoder_step(list.entry(i), spec);
    return;
  }
  if (type == "Replace") {
    field.only({"type", "pattern", "content"});
    step.kind = Kind::replace;
    if (read_pattern(field.at("pattern"), step.pattern))
      field.at("pattern").refuse("'Regex' is not supported in a decoder");
    step.content = read_content(field.at("content"));
  } else if (type == "ByteFallback" || type == "Fuse") {
    field.only({"type"});
    step.kind = type == "Fuse" ? Kind::fuse : Kind::byte_fallback;
  } else if (type == "Strip") {
    field.only({"type", "content", "start", "stop"});
    step.kind = Kind::strip;
    step.pattern = read_character(field.at("content"));
    step.start = field.at("start").integer();
    step.end = field.at("stop").integer();
  } else if (type == "Metaspace") {
    const Metaspace metaspace = read_metaspace(field);
    step.kind = Kind::metaspace;
    step.pattern = metaspace.mark;
    step.content = " ";
    step.drops_first = metaspace.prepend != Metaspace::Prepend::never;
  } else {
    field.refuse("type '", type, "' is not supported here; Replace, ByteFallback, Fuse, Strip, ",
                 "Metaspace and Sequence are, and ByteLevel with the pre-tokenizer ByteLevel");
  }
  spec.decoder.push_back(std::move(step));
}

void read_template(const Field& post, TokenizerSpec& spec) {
  if (spec.has_template) post.refuse("a second TemplateProcessing is not supported");
  spec.has_template = true;
  const Field single = post.at("single");
  bool text = false;
  for (size_t i = 0; i < single.entries(); ++i) {
    const Field piece = single.entry(i);
    piece.only({"Sequence", "SpecialToken"});
    if (piece.has("Sequence")) {
      if (text || piece.at("Sequence").at("id").text() != "A")
        piece.refuse("only one sequence, A, is supported");
      text = true;
      continue;
    }
    const Field name = piece.at("SpecialToken").at("id");
    const Field ids = post.at("special_tokens").at(name.text().c_str()).at("ids");
    for (size_t k = 0; k < ids.entries(); ++k) {
      const int32_t id = ids.entry(k).id();
      if (static_cast<size_t>(id) >= spec.tokens.size())
        ids.refuse(id, " is outside the vocabulary of ", spec.tokens.size(), " tokens");
      (text ? spec.suffix : spec.prefix).push_back(id);
    }
  }
  if (!text) single.refuse("has no sequence");
}

}  // namespace

void read_normalizer(const JsonField& root, TokenizerSpec& spec) {
  if (root.has("normalizer")) read_normalizer_step(root.at("normalizer"), spec);
}

void read_pre_tokenizer(const JsonField& root, TokenizerSpec& spec) {
  spec.model = Model::text;
  spec.gpt2_regex = false;
  if (!root.has("pre_tokenizer")) return;
  std::vector<Field> steps;
  const Field pre = root.at("pre_tokenizer");
  if (pre.type() == "Sequence") {
    pre.only({"type", "pretokenizers"});
    const Field list = pre.at("pretokenizers");
    if (list.entries() == 0) list.refuse("no pre-tokenizers");
    for (size_t i = 0; i < list.entries(); ++i) steps.push_back(list.entry(i));
  } else {
    steps.push_back(pre);
  }
  if (steps.size() == 1 && steps[0].type() == "Metaspace") {
    spec.metaspace = read_metaspace(steps[0]);
    // What a normalizer leaves of the head of a text may no longer count as its head there.
    if (spec.metaspace->prepend == Metaspace::Prepend::first && !spec.normalizer.empty())
      steps[0].at("prepend_scheme").refuse("'first' is not supported together with a normalizer");
    return;
  }
  for (size_t i = 0; i + 1 < steps.size(); ++i) read_step(steps[i], spec);
  if (steps.back().type() == "ByteLevel")
    read_byte_level(steps.back(), spec);
  else
    read_step(steps.back(), spec);
}

void read_decoder(const JsonField& root, TokenizerSpec& spec) {
  Field decoder = root.at("decoder");
  if (spec.model == Model::text) return read_decoder_step(decoder, spec);
  if (decoder.type() == "Sequence" && decoder.at("decoders").entries() == 1)
    decoder = decoder.at("decoders").entry(0);
  if (decoder.type() != "ByteLevel")
    decoder.refuse("type '", decoder.type(),
                   "' is not supported with the pre-tokenizer ByteLevel; ByteLevel is");
}

void read_post_processor(const JsonField& post, TokenizerSpec& spec) {
  if (post.type() == "ByteLevel") return;
  if (post.type() == "TemplateProcessing") return read_template(post, spec);
  if (post.type() != "Sequence") post.refuse("type '", post.type(), "' is not supported");
  const Field list = post.at("processors");
  for (size_t i = 0; i < list.entries(); ++i) {
    if (list.entry(i).type() == "Sequence")
      list.entry(i).refuse("a Sequence in a Sequence is not supported");
    read_post_processor(list.entry(i), spec);
  }
}

}  // namespace vernier
