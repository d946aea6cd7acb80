#include "ddpm/serving/http/http_static_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serving/http_status.h"

namespace ddpm {
namespace {

TEST(HttpStaticFilesTest, FilesHaveTypesTagsAndTimesToKeepThem) {
  const HttpStaticFiles files(
      {{"index.html", {"<p>"}}, {"assets/app-1.js", {"a", "zipped"}}, {"b.txt", {"a"}}});
  const HttpResponse page = files.get("index.html"), script = files.get("assets/app-1.js");
  EXPECT_EQ(page.media_type, "text/html; charset=utf-8");
  EXPECT_EQ(script.media_type, "text/javascript; charset=utf-8");
  EXPECT_EQ(*std::get<SharedBytes>(page.body), "<p>");
  EXPECT_EQ(page.gzip, nullptr);
  EXPECT_EQ(*script.gzip, "zipped");
  EXPECT_NE(page.etag, script.etag);
  EXPECT_EQ(script.etag, files.get("b.txt").etag);
  EXPECT_EQ(*find_header(page.headers, "Cache-Control"), "no-cache");
  EXPECT_THAT(*find_header(script.headers, "Cache-Control"), testing::HasSubstr("immutable"));
  EXPECT_EQ(status_of([&] { files.get("absent"); }), 404);
  EXPECT_EQ(media_type_of("a.bin"), "application/octet-stream");
}

TEST(HttpStaticFilesTest, EachFileIsARouteAndTheIndexTwo) {
  HttpRouter router;
  HttpStaticFiles({{"index.html", {"<p>"}}, {"assets/app-1.js", {"a"}}}).add_routes(router);
  EXPECT_EQ(router.routes().size(), 3u);
  EXPECT_NE(router.find(HttpMethod::kGet, {""}).route, nullptr);
  EXPECT_NE(router.find(HttpMethod::kHead, {"assets", "app-1.js"}).route, nullptr);
  EXPECT_EQ(router.find(HttpMethod::kGet, {"assets", "app-2.js"}).route, nullptr);
}

}  // namespace
}  // namespace ddpm
