#include "core/text/pretokenize.h"

#include "core/text/patterns.h"

namespace vernier {

Pretokenizer::Pretokenizer(const TokenizerSpec& spec) : metaspace_(spec.metaspace) {
  std::vector<PretokenizerStep> steps = spec.steps;
  if (spec.model == TokenizerSpec::Model::byte_level && spec.gpt2_regex)
    steps.push_back({PretokenizerStep::Kind::regex, kGpt2Regex});
  if (metaspace_ && metaspace_->split)
    steps.push_back(
        {PretokenizerStep::Kind::literal, metaspace_->mark, SplitBehavior::merged_with_next});
  for (const PretokenizerStep& step : steps) {
    auto scanner = make_scanner(step);
    cutters_.push_back(scanner ? std::move(scanner) : make_cutter(step));
  }
}

std::span<const std::string_view> Pretokenizer::split(std::string_view text, bool at_head,
                                                      Scratch& scratch) const {
  scratch.pieces.clear();
  if (text.empty()) return scratch.pieces;
  if (metaspace_) {
    using Prepend = Metaspace::Prepend;
    scratch.text.clear();
    const bool prepend = metaspace_->prepend == Prepend::always ||
                         (metaspace_->prepend == Prepend::first && at_head);
    if (prepend && text[0] != ' ' && !text.starts_with(metaspace_->mark))
      scratch.text += metaspace_->mark;
    for (const char c : text)
      if (c == ' ')
        scratch.text += metaspace_->mark;
      else
        scratch.text += c;
    text = scratch.text;
  }
  scratch.pieces.push_back(text);
  for (const auto& cutter : cutters_) {
    scratch.finer.clear();
    for (const std::string_view piece : scratch.pieces) cutter->cut(piece, scratch.finer);
    std::swap(scratch.pieces, scratch.finer);
  }
  return scratch.pieces;
}

}  // namespace vernier
