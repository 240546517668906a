// The forms that a response may have to have, by name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/config.h"

namespace vernier {

/// boxed: an answer that reads as mathematics (rewards/verify/math_format.h); hash: a "#" (the
/// answers of chain_sum); think_tags: "<think>", and "</think>" after it.
const std::vector<std::string>& forms();

/// Binds the key `format` of a reward: one of forms(), or "none".
void bind_format(Binder& config, std::string& field, std::string_view doc);

/// Whether `text` has not the form that bind_format() read; of "none" never.
bool lacks_format(const std::string& format, std::string_view text);

/// Whether `text` has a form of forms(); `strict_sympy_compat` as in math_format.h.
bool has_form(const std::string& form, std::string_view text, bool strict_sympy_compat = true);

}  // namespace vernier
