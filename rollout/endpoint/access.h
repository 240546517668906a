// Who may ask an HTTP server of ours: the token that it is given in a file.
#pragma once

#include <optional>
#include <string>

namespace vernier {

/// The token in `path`, "" where there is no path. Throws UsageError, opened by --token-file, where
/// the file cannot be read or holds no line of visible ASCII (a header carries it).
std::string read_token(const std::string& path);

/// Compares in a time that does not tell how much of it was right. Nothing is the same as no
/// secret.
bool same_secret(const std::string& given, const std::string& wanted);

/// The token of an Authorization header; none where it is of another kind.
std::optional<std::string> bearer_token(const std::string& header);

/// The value of a cookie in a Cookie header.
std::optional<std::string> cookie_value(const std::string& header, const std::string& name);

/// The value of a parameter of a query, percent-decoded. None where it is not there, or is no valid
/// encoding.
std::optional<std::string> query_value(const std::string& query, const std::string& name);

/// "http://127.0.0.1:8080".
std::string url_of(const std::string& host, int port);

}  // namespace vernier
