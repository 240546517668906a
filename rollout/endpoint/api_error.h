// What a request over HTTP is refused with, in the shape of OpenAI's interface.
#pragma once

#include <string>

#include "core/base/errors.h"
#include "core/base/json.h"

namespace vernier {

/// A request that cannot be answered. As a UsageError of a field: "max_tokens: ...".
class ApiError : public UsageError {
 public:
  ApiError(int with, const std::string& message, std::string field = "", std::string name = "")
      : UsageError(message), status(with), param(std::move(field)), code(std::move(name)) {}

  int status;
  std::string param;  // the field, "" where it is none
  std::string code;   // for programs: "model_not_found"; "" where there is none
};

/// The body of an error: {"error": {"message", "type", "param", "code"}}.
inline std::string error_body(int status, const std::string& message, const std::string& param = "",
                              const std::string& code = "") {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
  };
  const char* type = "invalid_request_error";
  if (status == 401) type = "authentication_error";
  if (status == 429) type = "rate_limit_error";
  if (status >= 500) type = "server_error";
  Json error;
  error["message"] = message;
  error["type"] = type;
  error["param"] = or_null(param);
  error["code"] = or_null(code);
  return dump_json(Json{{"error", error}});
}

}  // namespace vernier
