// Groups as bytes, for other ranks: whole, or as the numbers that a step needs of those it does not
// train on itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace vernier {

/// The group without text, row, ids and what else is listed token by token, but for the places of
/// forced tokens, which tell how many were drawn.
Group numbers_of(const Group& group);

std::string bytes_of_groups(const std::vector<Group>& groups);
/// Throws RunError, opened by `what`, on bytes that are none.
std::vector<Group> groups_from_bytes(std::string_view bytes, const std::string& what);

/// A response with the token ids of its prompt, on its way to the rank that trains on it.
struct SentResponse {
  int64_t place = 0;  // among the responses of the update
  std::vector<int32_t> prompt_ids;
  Response response;
};
std::string bytes_of_responses(const std::vector<SentResponse>& responses);
std::vector<SentResponse> responses_from_bytes(std::string_view bytes, const std::string& what);

}  // namespace vernier
