#include "rewards/verify/latex_text.h"

#include <algorithm>
#include <array>
#include <vector>

#include "rewards/verify/scan.h"

namespace vernier {
namespace {

// Bytes of an environment's name or a root's index. Without a bound, a text of unclosed ones would
// be searched to its end for each.
constexpr size_t kMaxOption = 64;

struct Symbol {
  std::string_view macro, text;
};

// Sorted by macro, for the binary search. What is missing here vanishes.
constexpr std::array kSymbols = {Symbol{"Delta", "Δ"},       Symbol{"Gamma", "Γ"},
                                 Symbol{"Lambda", "Λ"},      Symbol{"Leftrightarrow", "⇔"},
                                 Symbol{"Omega", "Ω"},       Symbol{"Phi", "Φ"},
                                 Symbol{"Pi", "Π"},          Symbol{"Psi", "Ψ"},
                                 Symbol{"Rightarrow", "⇒"},  Symbol{"Sigma", "Σ"},
                                 Symbol{"Theta", "Θ"},       Symbol{"alpha", "α"},
                                 Symbol{"angle", "∠"},       Symbol{"approx", "≈"},
                                 Symbol{"arccos", "arccos"}, Symbol{"arcsin", "arcsin"},
                                 Symbol{"arctan", "arctan"}, Symbol{"ast", "*"},
                                 Symbol{"beta", "β"},        Symbol{"bullet", "•"},
                                 Symbol{"cap", "∩"},         Symbol{"cdot", "·"},
                                 Symbol{"cdots", "⋯"},       Symbol{"chi", "χ"},
                                 Symbol{"circ", "∘"},        Symbol{"cong", "≅"},
                                 Symbol{"cos", "cos"},       Symbol{"cosh", "cosh"},
                                 Symbol{"cot", "cot"},       Symbol{"csc", "csc"},
                                 Symbol{"cup", "∪"},         Symbol{"delta", "δ"},
                                 Symbol{"det", "det"},       Symbol{"div", "÷"},
                                 Symbol{"dots", "…"},        Symbol{"ell", "ℓ"},
                                 Symbol{"emptyset", "∅"},    Symbol{"epsilon", "ϵ"},
                                 Symbol{"equiv", "≡"},       Symbol{"eta", "η"},
                                 Symbol{"exists", "∃"},      Symbol{"exp", "exp"},
                                 Symbol{"forall", "∀"},      Symbol{"gamma", "γ"},
                                 Symbol{"ge", "≥"},          Symbol{"geq", "≥"},
                                 Symbol{"geqslant", "≥"},    Symbol{"gt", ">"},
                                 Symbol{"iff", "⇔"},         Symbol{"in", "∈"},
                                 Symbol{"infty", "∞"},       Symbol{"int", "∫"},
                                 Symbol{"iota", "ι"},        Symbol{"kappa", "κ"},
                                 Symbol{"lambda", "λ"},      Symbol{"land", "∧"},
                                 Symbol{"langle", "⟨"},      Symbol{"lceil", "⌈"},
                                 Symbol{"ldots", "…"},       Symbol{"le", "≤"},
                                 Symbol{"leftarrow", "←"},   Symbol{"leq", "≤"},
                                 Symbol{"leqslant", "≤"},    Symbol{"lfloor", "⌊"},
                                 Symbol{"lim", "lim"},       Symbol{"ln", "ln"},
                                 Symbol{"log", "log"},       Symbol{"lor", "∨"},
                                 Symbol{"lt", "<"},          Symbol{"max", "max"},
                                 Symbol{"mid", "∣"},         Symbol{"min", "min"},
                                 Symbol{"mp", "∓"},          Symbol{"mu", "μ"},
                                 Symbol{"nabla", "∇"},       Symbol{"ne", "≠"},
                                 Symbol{"neg", "¬"},         Symbol{"neq", "≠"},
                                 Symbol{"notin", "∉"},       Symbol{"nu", "ν"},
                                 Symbol{"omega", "ω"},       Symbol{"parallel", "∥"},
                                 Symbol{"partial", "∂"},     Symbol{"perp", "⊥"},
                                 Symbol{"phi", "ϕ"},         Symbol{"pi", "π"},
                                 Symbol{"pm", "±"},          Symbol{"prime", "'"},
                                 Symbol{"prod", "∏"},        Symbol{"psi", "ψ"},
                                 Symbol{"qquad", " "},       Symbol{"quad", " "},
                                 Symbol{"rangle", "⟩"},      Symbol{"rceil", "⌉"},
                                 Symbol{"rfloor", "⌋"},      Symbol{"rho", "ρ"},
                                 Symbol{"rightarrow", "→"},  Symbol{"sec", "sec"},
                                 Symbol{"setminus", "∖"},    Symbol{"sigma", "σ"},
                                 Symbol{"sim", "∼"},         Symbol{"simeq", "≃"},
                                 Symbol{"sin", "sin"},       Symbol{"sinh", "sinh"},
                                 Symbol{"subset", "⊂"},      Symbol{"subseteq", "⊆"},
                                 Symbol{"sum", "∑"},         Symbol{"tan", "tan"},
                                 Symbol{"tanh", "tanh"},     Symbol{"tau", "τ"},
                                 Symbol{"theta", "θ"},       Symbol{"times", "×"},
                                 Symbol{"to", "→"},          Symbol{"varepsilon", "ε"},
                                 Symbol{"varnothing", "∅"},  Symbol{"varphi", "φ"},
                                 Symbol{"xi", "ξ"},          Symbol{"zeta", "ζ"}};

constexpr bool sorted() {
  for (size_t i = 1; i < kSymbols.size(); ++i)
    if (!(kSymbols[i - 1].macro < kSymbols[i].macro)) return false;
  return true;
}
static_assert(sorted());

std::string_view symbol(std::string_view macro) {
  const auto row =
      std::lower_bound(kSymbols.begin(), kSymbols.end(), macro,
                       [](const Symbol& left, std::string_view name) { return left.macro < name; });
  return row != kSymbols.end() && row->macro == macro ? row->text : std::string_view();
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// One pass with a stack instead of recursion: the input may nest as deep as it is long.
class Converter {
 public:
  Converter(std::string_view text, std::string_view cell) : text_(text), cell_(cell) {}

  std::string run() {
    while (at_ < text_.size()) step();
    while (depth_ > 0) close_group();
    while (!waiting_.empty()) close_macro();
    return std::move(out_);
  }

 private:
  // A macro that still waits for arguments, at the depth of braces where it stood.
  struct Waiting {
    size_t depth;
    int arguments;
    std::string_view between, after;
  };

  void step() {
    const char c = text_[at_];
    const bool argument_next = !waiting_.empty() && waiting_.back().depth == depth_;
    if (argument_next && is_space(c)) {
      ++at_;
    } else if (c == '\\') {
      ++at_;
      macro();
    } else if (c == '{') {
      ++at_;
      ++depth_;
    } else if (c == '}') {
      ++at_;
      close_group();
    } else if (c == '&' && matrices_ > 0) {
      ++at_;
      out_ += cell_;
    } else {
      ++at_;
      out_ += c;
      const bool character_ends =
          at_ == text_.size() || (static_cast<unsigned char>(text_[at_]) & 0xC0) != 0x80;
      if (character_ends) token_done();
    }
  }

  void macro() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_letter(text_[at_])) ++at_;
    if (at_ == begin) return control_symbol();
    const std::string_view name = text_.substr(begin, at_ - begin);
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    if (name == "frac" || name == "dfrac" || name == "tfrac" || name == "cfrac") {
      waiting_.push_back({depth_, 2, "/", ""});
    } else if (name == "sqrt") {
      skip_option();
      out_ += "√(";
      waiting_.push_back({depth_, 1, "", ")"});
    } else if (name == "begin" || name == "end") {
      environment(name == "begin");
    } else if (const std::string_view text = symbol(name); !text.empty()) {
      out_ += text;
      token_done();
    }
  }

  // A backslash and one character that is not a letter.
  void control_symbol() {
    const char c = at_ < text_.size() ? text_[at_++] : ' ';
    if (c == '\\')
      out_ += matrices_ > 0 ? ";" : "\n";
    else if (c == ',' || c == ';' || c == ':' || is_space(c))
      out_ += ' ';
    else if (c == '|')
      out_ += "‖";
    else if (c != '!' && c != '(' && c != ')' && c != '[' && c != ']')
      out_ += c;
  }

  // The index of a root, which the plain text does without.
  void skip_option() {
    if (at_ == text_.size() || text_[at_] != '[') return;
    const size_t end = text_.substr(at_, kMaxOption).find(']');
    if (end != std::string_view::npos) at_ += end + 1;
  }

  std::string_view braced() {
    if (at_ == text_.size() || text_[at_] != '{') return {};
    const size_t end = text_.substr(at_, kMaxOption).find('}');
    if (end == std::string_view::npos) return {};
    const std::string_view inside = text_.substr(at_ + 1, end - 1);
    at_ += end + 1;
    return inside;
  }

  void environment(bool begins) {
    const std::string_view name = braced();
    if (name != "array" && name.find("matrix") == std::string_view::npos) return;
    if (begins) {
      if (name == "array") braced();  // its column layout
      ++matrices_;
      out_ += '[';
    } else {
      if (matrices_ > 0) --matrices_;
      out_ += ']';
    }
  }

  void close_group() {
    if (depth_ == 0) return;
    while (!waiting_.empty() && waiting_.back().depth == depth_) close_macro();
    --depth_;
    token_done();
  }

  // A macro without all its arguments leaves a mark that is part of no expression.
  void close_macro() {
    if (waiting_.back().arguments > 0) out_ += '%';
    out_ += waiting_.back().after;
    waiting_.pop_back();
  }

  // One argument is complete: a character, a symbol, a group, or a macro with its own arguments.
  void token_done() {
    while (!waiting_.empty() && waiting_.back().depth == depth_) {
      if (--waiting_.back().arguments > 0) {
        out_ += waiting_.back().between;
        return;
      }
      close_macro();
    }
  }

  std::string_view text_, cell_;
  size_t at_ = 0, depth_ = 0, matrices_ = 0;
  std::vector<Waiting> waiting_;
  std::string out_;
};

}  // namespace

std::string latex_to_text(std::string_view latex, std::string_view cell) {
  return Converter(latex, cell).run();
}

}  // namespace vernier
