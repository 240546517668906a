// Whether a response thought at all.
#pragma once

#include <string_view>

namespace vernier {

/// How a text stands to a closing tag of thinking: it lacks the tag, has nothing but white space
/// before the first one (an opening tag apart), or thought.
enum class Thinking { open, none, some };
Thinking thinking_of(std::string_view text, std::string_view start, std::string_view end);

}  // namespace vernier
