package drain

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// refusing answers 413 after reading at most limit bytes of the body.
func refusing(limit int64) http.Handler {
	return Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
		const text = "too large\n"
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, text)
	}))
}

// A client sends a file, or a stream of unknown length, and returns the status
// and the body that it got.
type client struct {
	name string
	send func(t *testing.T, url, file string, stream bool) string
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(program + " is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s: got %v, want no error\n%s", program, err, out)
	}
	return string(out)
}

// writeAll sends the whole body and returns the response, or the error of a
// write.
func writeAll(t *testing.T, url, file string, stream bool) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	head, tail := fmt.Sprintf("Content-Length: %d\r\n\r\n", len(content)), ""
	if stream {
		head, tail = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(content)), "\r\n0\r\n\r\n"
	}
	for _, part := range []string{"POST / HTTP/1.1\r\nHost: x\r\n" + head, string(content), tail} {
		if _, err := io.WriteString(c, part); err != nil {
			return err.Error()
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error()
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(text) + strconv.Itoa(resp.StatusCode)
}

const pythonStandard = `
import sys, urllib.request, urllib.error
with open(sys.argv[2], "rb") as f:
    r = urllib.request.Request(sys.argv[1], data=f if sys.argv[3] == "true" else f.read(), method="POST")
    try:
        urllib.request.urlopen(r)
    except urllib.error.HTTPError as e:
        print(e.read().decode().strip(), e.code)
`

const pythonClient = `
import sys, requests
def stream(f):
    while b := f.read(65536):
        yield b
with open(sys.argv[2], "rb") as f:
    r = requests.post(sys.argv[1], data=stream(f) if sys.argv[3] == "true" else f)
print(r.text.strip(), r.status_code)
`

var clients = []client{
	{"Go", func(t *testing.T, url, file string, stream bool) string {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		body := io.Reader(bytes.NewReader(content))
		if stream {
			body = io.MultiReader(body) // unknown length
		}
		resp, err := (&http.Client{Transport: &http.Transport{}}).Post(url, "text/plain", body)
		if err != nil {
			t.Fatalf("got %v, want a response", err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Errorf("read the response: got %v, want no error", err)
		}
		return string(text) + strconv.Itoa(resp.StatusCode)
	}},
	{"curl", func(t *testing.T, url, file string, stream bool) string {
		args := []string{"-sS", "--http1.1", "-w", "%{http_code}", "-H", "Expect:"}
		if stream {
			args = append(args, "-H", "Transfer-Encoding: chunked")
		}
		return run(t, "curl", append(args, "--data-binary", "@"+file, url)...)
	}},
	{"curl that waits for 100 Continue", func(t *testing.T, url, file string, stream bool) string {
		args := []string{"-sS", "--http1.1", "-w", "%{http_code}", "-H", "Expect: 100-continue"}
		if stream {
			args = append(args, "-H", "Transfer-Encoding: chunked")
		}
		return run(t, "curl", append(args, "--data-binary", "@"+file, url)...)
	}},
	{"Python's standard library", func(t *testing.T, url, file string, stream bool) string {
		return run(t, "python3", "-c", pythonStandard, url, file, strconv.FormatBool(stream))
	}},
	{"one that writes everything before it reads", writeAll},
	{"Python with requests", func(t *testing.T, url, file string, stream bool) string {
		if err := exec.CommandContext(t.Context(), "python3", "-c", "import requests").Run(); err != nil {
			t.Skip("python3 with requests is not installed")
		}
		return run(t, "python3", "-c", pythonClient, url, file, strconv.FormatBool(stream))
	}},
}

func TestClientsReadTheResponseToALargeBody(t *testing.T) {
	const size = 20 << 20
	file := t.TempDir() + "/body"
	if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int64{0, 1 << 20} { // before anything of the body is read, and in the middle of it
		server := httptest.NewServer(refusing(limit))
		defer server.Close()
		for _, c := range clients {
			for _, stream := range []bool{false, true} {
				t.Run(c.name+"/limit "+strconv.FormatInt(limit, 10)+"/stream "+strconv.FormatBool(stream), func(t *testing.T) {
					got := strings.Join(strings.Fields(c.send(t, server.URL, file, stream)), " ")
					if want := "too large 413"; got != want {
						t.Errorf("got %q, want %q", got, want)
					}
				})
			}
		}
	}
}

// A client that never stops sending is read for a bounded time and size only.
func TestEndlessBodiesAreCutOff(t *testing.T) {
	server := httptest.NewServer(refusing(0))
	defer server.Close()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	begin, sent, block := time.Now(), 0, make([]byte, 1<<20)
	for err == nil {
		var n int
		n, err = c.Write(block)
		sent += n
		if took := time.Since(begin); took > 4*maxTime || sent > 4*MaxBytes {
			t.Fatalf("got %d bytes accepted in %v, want the connection closed", sent, took)
		}
	}
}

func TestSmallBodiesKeepTheirConnection(t *testing.T) {
	server := httptest.NewServer(refusing(0))
	defer server.Close()
	for _, body := range []string{"", "x"} {
		if resp, err := http.Post(server.URL, "text/plain", strings.NewReader(body)); err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("got %v, %v, want 413", resp, err)
		} else {
			resp.Body.Close()
		}
	}
}
