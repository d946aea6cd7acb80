// Other ways to connect, and clients that others wrote: Unix sockets, TLS, curl, Python.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <sys/stat.h>

#include "serving/http_test_server.h"

namespace ddpm {
namespace {

using testing::HasSubstr;

/// What a shell command prints.
std::string shell(const std::string& command) {
  std::FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::string output;
  char piece[4096];
  while (const size_t count = std::fread(piece, 1, sizeof piece, pipe)) output.append(piece, count);
  ::pclose(pipe);
  return output;
}

bool has_program(const std::string& name) {
  return shell("command -v " + name).find('/') != std::string::npos;
}

std::string socket_path() { return testing::TempDir() + "/http.sock"; }

TEST(HttpTransportTest, AUnixSocketIsForItsOwnerAlone) {
  HttpServerOptions options;
  options.unix_socket = socket_path();
  HttpTestServer server(options);
  struct stat found {};
  ASSERT_EQ(::stat(socket_path().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  EXPECT_THROW(HttpTestServer{options}, std::runtime_error);  // a live one is not taken over
  if (has_program("curl")) {
    EXPECT_EQ(shell("curl -s --unix-socket " + socket_path() + " http://localhost/echo/a"),
              "a||unix|");
  }
  server.server->stop();
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

TEST(HttpTransportTest, AStaleSocketIsReplacedAndOtherFilesAreNot) {
  HttpServerOptions options;
  options.unix_socket = socket_path();
  std::filesystem::remove(socket_path());
  const int left = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr address{.sa_family = AF_UNIX, .sa_data = {}};
  const std::string path = "h.sock";
  std::copy(path.begin(), path.end(), address.sa_data);
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(testing::TempDir());
  std::filesystem::remove(path);
  EXPECT_EQ(::bind(left, &address, sizeof address), 0);
  ::close(left);
  options.unix_socket = path;
  EXPECT_NO_THROW(HttpTestServer{options});
  std::ofstream(path) << "precious";
  EXPECT_THROW(HttpTestServer{options}, std::runtime_error);
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove(path);
  std::filesystem::current_path(before);
}

TEST(HttpTransportTest, TlsServesAndPlainBytesDoNoHarm) {
  if (!HttpServer::has_tls()) GTEST_SKIP() << "built without OpenSSL";
  if (!has_program("openssl") || !has_program("curl")) GTEST_SKIP() << "no openssl or curl";
  const std::string key = testing::TempDir() + "/key.pem", cert = testing::TempDir() + "/cert.pem";
  shell(
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "
      "/CN=localhost -addext subjectAltName=DNS:localhost -keyout " +
      key + " -out " + cert);
  HttpServerOptions options;
  options.tls_certificate = cert;
  options.tls_private_key = key;
  options.timeouts.head_ms = 500;
  HttpTestServer server(options, true);
  const std::string curl = "curl -sS --cacert " + cert + " ";
  const std::string url = "https://localhost:" + std::to_string(server.port());
  EXPECT_EQ(shell(curl + url + "/hello " + url + "/hello"), "hellohello");
  EXPECT_EQ(shell(curl + url + "/big | wc -c"), "4194304\n");
  EXPECT_EQ(shell(curl + "-H Connection:close " + url + "/big | wc -c"), "4194304\n");
  EXPECT_EQ(shell("head -c 3000000 /dev/zero | " + curl +
                  "--data-binary @- "
                  "-H Content-Type:application/octet-stream " +
                  url + "/upload"),
            "3000000");
  EXPECT_NE(shell(curl + "--tls-max 1.1 " + url + "/hello"), "hello");
  RawClient plain(server.port());
  plain.send(get_text("/hello"));
  EXPECT_TRUE(plain.sees_end());
  RawClient silent(server.port());
  EXPECT_TRUE(silent.sees_end(3000));
  EXPECT_EQ(shell(curl + url + "/hello"), "hello");
}

TEST(HttpTransportTest, TlsFilesThatAreMissingAreNamed) {
  if (!HttpServer::has_tls()) GTEST_SKIP() << "built without OpenSSL";
  HttpServerOptions options;
  options.tls_certificate = "/nowhere/cert.pem";
  options.tls_private_key = "/nowhere/key.pem";
  try {
    const HttpTestServer server(options);
    FAIL() << "started";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/cert.pem"));
  }
}

TEST(HttpTransportTest, CurlUploadsResumesAndStreams) {
  if (!has_program("curl")) GTEST_SKIP() << "no curl";
  HttpTestServer server({}, true);
  const std::string url = "http://127.0.0.1:" + std::to_string(server.port());
  EXPECT_EQ(shell("curl -s --compressed " + url + "/page | wc -c"), "5000\n");
  EXPECT_EQ(shell("curl -s -r 100-199 " + url + "/file | wc -c"), "100\n");
  EXPECT_EQ(shell("head -c 8388608 /dev/zero | curl -s -T - -X POST -H "
                  "Content-Type:application/octet-stream " +
                  url + "/upload"),
            "8388608");
  EXPECT_EQ(
      shell("head -c 8388609 /dev/zero | curl -s -o /dev/null -w %{http_code} -T - -X POST -H "
            "Content-Type:application/octet-stream " +
            url + "/upload"),
      "413");
  EXPECT_THAT(shell("curl -s -F image=@/etc/hostname " + url + "/upload"),
              testing::MatchesRegex("[0-9]+"));
}

TEST(HttpTransportTest, PythonsClientIsServed) {
  if (!has_program("python3")) GTEST_SKIP() << "no python3";
  const HttpTestServer server;
  const std::string script =
      "import http.client, json\n"
      "c = http.client.HTTPConnection(\"127.0.0.1\", " +
      std::to_string(server.port()) +
      ")\n"
      "for i in range(3):\n"
      "  c.request(\"POST\", \"/json\", json.dumps([i]), {\"Content-Type\": "
      "\"application/json\"})\n"
      "  print(c.getresponse().read().decode(), end=\"\")\n"
      "c.request(\"POST\", \"/json\", iter([b\"[1,\", b\"2]\"]), {\"Content-Type\": "
      "\"application/json\"})\n"
      "print(c.getresponse().read().decode(), end=\"\")\n";
  EXPECT_EQ(shell("python3 -c '" + script + "'"), "[0][1][2][1,2]");
}

}  // namespace
}  // namespace ddpm
