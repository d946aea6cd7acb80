#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ddpm/serving/http/http_message.h"

namespace ddpm {

/// Which pages of other sites may call us, and which names we go by. Without it, a page that the
/// user visits could drive a server on the user's own machine.
class HttpOriginPolicy {
 public:
  /// @param origins "https://studio.example"; "*": any (no credentials are ever allowed).
  /// @param hosts   names that Host may have, without port; empty: any. A name that another site
  ///                points at 127.0.0.1 is thereby refused.
  /// @throws std::invalid_argument if an origin isn't scheme://host[:port].
  HttpOriginPolicy(std::vector<std::string> origins, std::vector<std::string> hosts);

  /// @throws HttpError 400: Host missing or malformed; 421: a name that isn't ours.
  void check_host(const std::string& host) const;

  /// A browser's request that changes something comes from our own page or an allowed one.
  /// @throws HttpError 403 otherwise.
  void check_origin(const HttpHeaders& headers) const;

  /// The CORS fields of an answer; empty if the origin isn't allowed.
  HttpHeaders cors_fields(const HttpHeaders& request) const;

  /// Those of the answer to a preflight; empty if the origin isn't allowed.
  HttpHeaders preflight_fields(const HttpHeaders& request, const std::string& allow) const;

 private:
  bool allows(std::string_view origin) const;

  std::vector<std::string> origins_;
  std::vector<std::string> hosts_;
};

}  // namespace ddpm
