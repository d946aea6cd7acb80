#include "ddpm/serving/http/http_request_parser.h"

#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace ddpm {
namespace {

namespace beast_http = boost::beast::http;
using boost::system::error_code;

constexpr size_t kMaxChunkExtensionBytes = 256;

[[noreturn]] void refuse_head(int status, const std::string& message) {
  throw HttpError(status, status == 413 || status == 431 ? "too_large" : "invalid_request",
                  message);
}

/// What Beast would repair, or understand other than a proxy before us.
void check_head_lines(std::string_view block, const HttpParserLimits& limits) {
  if (block.size() > limits.max_head_bytes) refuse_head(431, "The request's fields are too long.");
  size_t num_lines = 0;
  while (!block.empty()) {
    const size_t end = block.find('\n');
    if (end == block.npos || end == 0 || block[end - 1] != '\r') {
      refuse_head(400, "A line of the request's head doesn't end in CRLF.");
    }
    const std::string_view line = block.substr(0, end - 1);
    const bool has_control = std::any_of(line.begin(), line.end(), [](char letter) {
      return (letter >= 0 && letter < ' ' && letter != '\t') || letter == '\x7f';
    });
    if (has_control) refuse_head(400, "The request's head has a control character.");
    if (num_lines > 0 && (line.starts_with(' ') || line.starts_with('\t'))) {
      refuse_head(400, "A field of the request is folded over lines.");
    }
    block.remove_prefix(end + 1);
    ++num_lines;
  }
  if (num_lines > limits.max_fields + 2) refuse_head(431, "The request has too many fields.");
}

size_t count_fields(const HttpHeaders& headers, std::string_view name) {
  return static_cast<size_t>(std::count_if(headers.begin(), headers.end(), [&](const auto& field) {
    return equal_ignoring_case(field.first, name);
  }));
}

/// The rules of RFC 9112, 6.3 and 11.2, without exceptions for old clients.
void check_framing(const HttpRequestHead& head) {
  for (const char* const name : {"Host", "Content-Length", "Transfer-Encoding", "Origin"}) {
    if (count_fields(head.headers, name) > 1) refuse_head(400, "A field is given twice.");
  }
  const std::string* const coding = find_header(head.headers, "Transfer-Encoding");
  if (coding != nullptr) {
    if (find_header(head.headers, "Content-Length") != nullptr || head.is_http_1_0) {
      refuse_head(400, "Transfer-Encoding is not allowed in this request.");
    }
    if (!equal_ignoring_case(*coding, "chunked")) {
      refuse_head(501, "The only transfer coding is chunked.");
    }
  }
  const std::string* const length = find_header(head.headers, "Content-Length");
  if (length != nullptr && length->find_first_not_of("0123456789") != length->npos) {
    refuse_head(400, "Content-Length is not a number.");  // Beast takes "5,5"
  }
  const std::string* const encoding = find_header(head.headers, "Content-Encoding");
  if (encoding != nullptr && !equal_ignoring_case(*encoding, "identity")) {
    refuse_head(415, "Bodies with a Content-Encoding are not taken.");
  }
  const std::string* const expect = find_header(head.headers, "Expect");
  if (expect != nullptr && !equal_ignoring_case(*expect, "100-continue")) {
    refuse_head(417, "The only Expect is 100-continue.");
  }
}

[[noreturn]] void refuse_beast_error(const error_code& error) {
  if (error == beast_http::error::body_limit) refuse_head(413, "The body is too long.");
  if (error == beast_http::error::header_limit) refuse_head(431, "The fields are too long.");
  if (error == beast_http::error::bad_version)
    refuse_head(505, "Only HTTP/1.1 and 1.0 are spoken.");
  refuse_head(400, "The request is malformed: " + error.message() + ".");
}

}  // namespace

struct HttpRequestParser::Parser {
  explicit Parser(const HttpParserLimits& given) : limits(given) {
    beast.header_limit(static_cast<std::uint32_t>(limits.max_head_bytes + 1));
    beast.on_chunk_header(on_chunk);
  }

  HttpParserLimits limits;
  beast_http::request_parser<beast_http::string_body> beast;
  size_t num_chunks = 0;
  bool has_body_limit = false;
  std::function<void(std::uint64_t, boost::beast::string_view, error_code&)> on_chunk =
      [this](std::uint64_t, boost::beast::string_view extension, error_code& error) {
        if (extension.size() > kMaxChunkExtensionBytes) error = beast_http::error::bad_chunk;
        if (++num_chunks > limits.max_chunks) error = beast_http::error::body_limit;
      };
};

size_t find_head_end(std::string_view input, size_t from) {
  for (size_t at = input.find('\n', from); at != input.npos; at = input.find('\n', at + 1)) {
    if (at + 1 < input.size() && input[at + 1] == '\n') return at + 2;
    if (at + 2 < input.size() && input[at + 1] == '\r' && input[at + 2] == '\n') return at + 3;
  }
  return 0;
}

HttpRequestParser::HttpRequestParser(const HttpParserLimits& limits)
    : parser_(std::make_unique<Parser>(limits)) {}

HttpRequestParser::~HttpRequestParser() = default;

HttpRequestHead HttpRequestParser::parse_head(std::string_view block) {
  check_head_lines(block, parser_->limits);
  auto& beast = parser_->beast;
  beast.body_limit(boost::none);  // put_body() has it
  error_code error;
  beast.put(boost::asio::buffer(block.data(), block.size()), error);
  if (error) refuse_beast_error(error);
  if (!beast.is_header_done()) refuse_head(400, "The request is malformed.");
  const auto& message = beast.get();
  if (message.version() != 11 && message.version() != 10) {
    refuse_head(505, "Only HTTP/1.1 and 1.0 are spoken.");
  }
  HttpRequestHead head;
  head.method = std::string(message.method_string());
  head.target = std::string(message.target());
  for (const auto& field : message) {
    head.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
  }
  head.is_http_1_0 = message.version() == 10;
  head.keep_alive = message.keep_alive();
  head.is_chunked = beast.chunked();
  head.content_length = beast.content_length().value_or(0);
  check_framing(head);
  head.expects_continue = find_header(head.headers, "Expect") != nullptr && !head.is_http_1_0;
  return head;
}

size_t HttpRequestParser::put_body(std::string_view bytes, uint64_t max_bytes) {
  auto& beast = parser_->beast;
  if (!parser_->has_body_limit) {
    if (beast.content_length().value_or(0) > max_bytes) refuse_head(413, "The body is too long.");
    beast.body_limit(max_bytes);
    beast.eager(true);
    parser_->has_body_limit = true;
  }
  error_code error;
  const size_t used = beast.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
  if (error == beast_http::error::need_more) return used;
  if (error) refuse_beast_error(error);
  return used;
}

bool HttpRequestParser::is_done() const { return parser_->beast.is_done(); }

size_t HttpRequestParser::body_bytes() const { return parser_->beast.get().body().size(); }

std::string HttpRequestParser::take_body() { return std::move(parser_->beast.get().body()); }

}  // namespace ddpm
