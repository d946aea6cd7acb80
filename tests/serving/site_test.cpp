#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <zlib.h>

#include "ddpm/serving/http/http_server.h"
#include "ddpm/serving/site/site_files.h"
#include "ddpm/serving/site/site_routes.h"
#include "serving/raw_client.h"

namespace ddpm {
namespace {

/// A server of the site alone, with a key that nobody shows.
class SiteServer {
 public:
  explicit SiteServer(const std::vector<SiteFile>& files) {
    HttpRouter router;
    add_site_routes(router, files);
    server_ =
        std::make_unique<HttpServer>(HttpServerOptions{.port = 0,
                                                       .keys = {"site-test-key-0123456789"},
                                                       .access_log = [](const std::string&) {}},
                                     std::move(router));
    server_->start();
  }

  RawResponse ask(const std::string& method, const std::string& target,
                  const std::string& fields = {}) const {
    return RawClient(server_->port())
        .ask(method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n",
             /*has_body=*/method != "HEAD");
  }

 private:
  std::unique_ptr<HttpServer> server_;
};

std::string unzipped(const std::string& compressed) {
  std::string bytes(1 << 20, '\0');
  std::string input = compressed;
  z_stream stream{};
  constexpr int kGzipWindow = 15 + 16;
  EXPECT_EQ(inflateInit2(&stream, kGzipWindow), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = static_cast<uInt>(bytes.size());
  EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  bytes.resize(stream.total_out);
  inflateEnd(&stream);
  return bytes;
}

const std::vector<SiteFile> kSmallSite{{"index.html", "<p>page</p>", ""},
                                       {"assets/app-1.js", "let a;", ""}};

TEST(SiteTest, PageAndPartsArePublicAndNothingElseIsThere) {
  const SiteServer server(kSmallSite);
  const RawResponse page = server.ask("GET", "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.body, "<p>page</p>");
  EXPECT_EQ(page.field("Content-Type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.field("Content-Security-Policy"), testing::HasSubstr("default-src 'self'"));
  EXPECT_EQ(page.field("Cache-Control"), "no-cache");
  const RawResponse script = server.ask("GET", "/assets/app-1.js");
  EXPECT_EQ(script.body, "let a;");
  EXPECT_THAT(script.field("Cache-Control"), testing::HasSubstr("immutable"));
  EXPECT_EQ(server.ask("HEAD", "/").status, 200);
  EXPECT_EQ(server.ask("GET", "/assets/app-2.js").status, 404);
  EXPECT_EQ(server.ask("GET", "/assets/../index.html").status, 400);
  EXPECT_EQ(server.ask("POST", "/", "Content-Length: 0\r\n").status, 405);
}

TEST(SiteTest, APageThatDidNotChangeIsNotSentAgain) {
  const SiteServer server(kSmallSite);
  const std::string etag = server.ask("GET", "/").field("ETag");
  ASSERT_FALSE(etag.empty());
  const RawResponse unchanged = server.ask("GET", "/", "If-None-Match: " + etag + "\r\n");
  EXPECT_EQ(unchanged.status, 304);
  EXPECT_EQ(unchanged.field("Content-Security-Policy"), "") << "that of the page stays";
  EXPECT_EQ(server.ask("GET", "/", "If-None-Match: \"other\"\r\n").status, 200);
}

TEST(SiteTest, WithoutFilesThePageSaysWhereTheApiIs) {
  const SiteServer server({});
  const RawResponse page = server.ask("GET", "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.body, testing::HasSubstr("/v1/models"));
}

TEST(SiteTest, EmbeddedFilesAreWholeAndCompressed) {
  const std::vector<SiteFile> files = embedded_site();
  if (files.empty()) GTEST_SKIP() << "this build has no page";
  const SiteServer server(files);
  std::set<std::string> names;
  for (const SiteFile& file : files) {
    names.emplace(file.name);
    EXPECT_EQ(unzipped(std::string(file.gzip)), file.bytes) << file.name;
    const std::string target = "/" + std::string(file.name);
    EXPECT_EQ(server.ask("GET", target).body, file.bytes) << file.name;
    const RawResponse zipped = server.ask("GET", target, "Accept-Encoding: gzip\r\n");
    const bool is_zipped = zipped.field("Content-Encoding") == "gzip";
    EXPECT_EQ(zipped.body, is_zipped ? file.gzip : file.bytes) << file.name;
  }
  EXPECT_TRUE(names.contains("index.html"));
  const std::string page = server.ask("GET", "/").body;
  int parts = 0;
  for (size_t at = page.find("\"/assets/"); at != page.npos; at = page.find("\"/assets/", at + 1)) {
    const std::string part = page.substr(at + 2, page.find('"', at + 1) - at - 2);
    EXPECT_TRUE(names.contains(part)) << part;
    ++parts;
  }
  EXPECT_GE(parts, 2);  // its script and its style
}

}  // namespace
}  // namespace ddpm
