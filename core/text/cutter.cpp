#include "core/text/cutter.h"

#include <algorithm>

#include "core/text/regex.h"

namespace vernier {
namespace {

using Pieces = std::vector<std::string_view>;

struct Span {
  size_t begin, end;
  bool is_match;
};

// Joins neighbours as the behavior asks. As NormalizedString::split of tokenizers 0.23 does: of
// several matches in a row, merged_with_previous and merged_with_next join one only.
std::vector<Span> joined(const std::vector<Span>& spans, SplitBehavior behavior) {
  std::vector<Span> out;
  bool previous = false;
  for (const Span& span : spans) {
    const bool join = behavior == SplitBehavior::contiguous ? span.is_match == previous
                                                            : span.is_match && !previous;
    if (join && !out.empty())
      out.back() = {std::min(out.back().begin, span.begin), std::max(out.back().end, span.end),
                    false};
    else
      out.push_back(span);
    previous = span.is_match;
  }
  return out;
}

class SearchCutter final : public Cutter {
 public:
  SearchCutter(Regex search, SplitBehavior behavior, bool invert)
      : search_(std::move(search)), behavior_(behavior), invert_(invert) {}

  void cut(std::string_view text, Pieces& pieces) const override {
    if (behavior_ == SplitBehavior::isolated || behavior_ == SplitBehavior::removed) {
      each_span(text, [&](Span span) { put(text, span, pieces); });
      return;
    }
    std::vector<Span> spans;
    each_span(text, [&](Span span) { spans.push_back(span); });
    const bool backwards = behavior_ == SplitBehavior::merged_with_next;
    if (backwards) std::reverse(spans.begin(), spans.end());
    spans = joined(spans, behavior_);
    if (backwards) std::reverse(spans.begin(), spans.end());
    for (const Span& span : spans) put(text, span, pieces);
  }

 private:
  // The matches and what lies between them; together they are the text.
  template <class Function>
  void each_span(std::string_view text, const Function& function) const {
    size_t done = 0;
    while (done < text.size()) {
      const auto match = search_.find(text, done);
      if (!match) break;
      if (match->begin > done) function(Span{done, match->begin, invert_});
      function(Span{match->begin, match->end, !invert_});
      done = match->end;
    }
    if (done < text.size()) function(Span{done, text.size(), invert_});
  }

  void put(std::string_view text, const Span& span, Pieces& pieces) const {
    if (behavior_ == SplitBehavior::removed && span.is_match) return;
    pieces.push_back(text.substr(span.begin, span.end - span.begin));
  }

  Regex search_;
  SplitBehavior behavior_;
  bool invert_;
};

}  // namespace

std::unique_ptr<Cutter> make_cutter(const PretokenizerStep& step) {
  using Kind = PretokenizerStep::Kind;
  const bool digits = step.kind == Kind::digit || step.kind == Kind::digits;
  const std::string expression = !digits                     ? step.pattern
                                 : step.kind == Kind::digits ? "\\p{N}+"
                                                             : "\\p{N}";
  Regex search = step.kind == Kind::literal ? Regex::literal(expression) : Regex(expression);
  return std::make_unique<SearchCutter>(std::move(search), step.behavior, step.invert);
}

}  // namespace vernier
