package crash

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/internal/test/servers"
)

const largeProject = `
process: carry
retention: { documents: 0d }
retry: { max_attempts: 500, backoff: 20ms..200ms }
listen: { path: "/carry/{name}", method: POST, input: none, auth: none }
steps:
  - call: files.read
    with: { path: "${request.params.name}" }
  - map: { file: "${doc}", size: "${doc.size}" }
  - call: store.put
    with: { bucket: orders, key: "${request.params.name}" }
    body: ${doc.file}
---
process: take
retention: { documents: 0d }
listen: { path: /take, input: multipart, auth: none, limits: { body: 2GiB } }
steps:
  - call: store.put
    with: { bucket: orders, key: "${doc.file.filename}" }
    body: ${doc.file}
---
process: give
listen: { path: "/give/{name}", method: GET, output: binary, auth: none }
steps:
  - call: files.read
    with: { path: "${request.params.name}" }
  - reply: ${doc}
---
process: tell
listen: { path: "/tell", input: multipart, output: json, auth: none, limits: { body: 2GiB } }
steps:
  - reply: { size: "${doc.file.size}", sum: "${sha256(doc.file)}", length: "${len(unbase64(doc.file.raw).raw) > 0}", encoding: "${doc.file.encoding}", field: "${doc.note}" }
---
connection: files
connector: sftp
host: HOST
port: PORT
user: USER
key: "KEY"
host_key: "PUBLIC"
root: ROOT
max_size: 2GiB
timeout: 1m
---
connection: store
connector: s3
url: STORE
access_key: key
secret_key: secret
path_style: true
timeout: 1m
`

// carrier is an atom between a file server and an object store.
type carrier struct {
	*atom
	sshd  *servers.SSHD
	store *servers.S3
}

func newCarrier(t *testing.T) *carrier {
	t.Helper()
	sshd, err := servers.NewSSHD()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sshd.Close() })
	s3, err := servers.NewS3()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s3.Close)
	c := &carrier{newAtom(t, "127.0.0.1:1"), sshd, s3}
	host, port, _ := strings.Cut(sshd.Address, ":")
	c.runs(strings.NewReplacer("HOST", host, "PORT", port, "USER", sshd.User, "KEY", sshd.Key,
		"PUBLIC", sshd.HostKey(), "ROOT", sshd.Files, "STORE", s3.URL).Replace(largeProject))
	return c
}

// put writes a file of random bytes on the file server, and returns its hash.
func (c *carrier) put(name string, mebibytes int) string {
	c.t.Helper()
	f, err := os.Create(filepath.Join(c.sshd.Files, name))
	if err != nil {
		c.t.Fatal(err)
	}
	sum := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, sum), rand.NewChaCha8([32]byte{1}), int64(mebibytes)<<20)
	if err = errors.Join(err, f.Close()); err != nil {
		c.t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// carry starts an execution that carries a file.
func (c *carrier) carry(name string) {
	c.t.Helper()
	c.post("/carry/" + name)
}

// post starts an execution.
func (c *carrier) post(path string) {
	c.t.Helper()
	r, err := http.Post("http://"+c.listen+path, "", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		c.t.Fatalf("got status %d, want 200", r.StatusCode)
	}
}

// blobs returns the stored files, and the unfinished ones.
func (c *carrier) blobs() (stored, unfinished []string) {
	c.t.Helper()
	unfinished, _ = filepath.Glob(filepath.Join(c.data, "blobs", "new-*"))
	stored, _ = filepath.Glob(filepath.Join(c.data, "blobs", "*", "vblob-*"))
	return stored, unfinished
}

// until waits for a condition.
func (c *carrier) until(what string, cond func() bool) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); pause(2 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("not in a minute: %s\n%s", what, tail(c.out.String()))
		}
	}
}

// arrives checks an object, and that nothing is left in the data folder.
func (c *carrier) arrives(name, sum string) {
	c.t.Helper()
	c.until(name+" is in the object store", func() bool {
		r, err := c.store.Get(name)
		if err != nil {
			return false
		}
		defer r.Close()
		got := sha256.New()
		if _, err := io.Copy(got, r); err != nil {
			return false
		}
		if s := hex.EncodeToString(got.Sum(nil)); s != sum {
			c.t.Fatalf("%s: got content %s, want %s", name, s, sum)
		}
		return true
	})
	c.until("no stored file is left", func() bool {
		stored, unfinished := c.blobs()
		return len(stored)+len(unfinished) == 0
	})
}

// TestLargeFilesPassThroughWithLittleMemory carries files from a file server to
// an object store.
func TestLargeFilesPassThroughWithLittleMemory(t *testing.T) {
	c := newCarrier(t)
	const size = 64 // MiB
	sum := c.put("large.bin", size)
	c.start()
	idle := c.fact("VmRSS")
	c.carry("large.bin")
	c.arrives("large.bin", sum)
	grown := c.fact("VmHWM") - idle
	t.Logf("%d MiB passed: memory grew by %d KiB, from %d KiB", size, grown, idle)
	if grown > 60<<10 {
		t.Errorf("memory grew by %d KiB, want at most %d", grown, 60<<10)
	}
	hostile := "a b'\"%2F..;$.bin"
	sum = c.put(strings.ReplaceAll(hostile, "%2F", "-"), 3)
	c.carry(strings.NewReplacer(" ", "%20", `"`, "%22", "%2F", "-").Replace(hostile))
	c.arrives(strings.ReplaceAll(hostile, "%2F", "-"), sum)
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, c.out.String())
	}
}

// upload sends a file as multipart/form-data.
func (c *carrier) upload(path, name string) (status int, body string) {
	c.t.Helper()
	f, err := os.Open(filepath.Join(c.sshd.Files, name))
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	const head = "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s\"\r\n\r\n"
	r, err := http.Post("http://"+c.listen+path, "multipart/form-data; boundary=b", io.MultiReader(strings.NewReader(fmt.Sprintf(head, name)), f, strings.NewReader("\r\n--b--\r\n")))
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// TestUploadsAreStored sends large files to listeners, and downloads one.
func TestUploadsAreStored(t *testing.T) {
	c := newCarrier(t)
	sum := c.put("large.bin", 64)
	c.start()
	idle := c.fact("VmRSS")
	if status, body := c.upload("/take", "large.bin"); status != http.StatusOK || !strings.Contains(body, `"accepted"`) {
		t.Fatalf("got %d %s, want a receipt", status, body)
	}
	c.arrives("large.bin", sum)
	r, err := http.Get("http://" + c.listen + "/give/large.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	got := sha256.New()
	if n, err := io.Copy(got, r.Body); err != nil || r.StatusCode != http.StatusOK || r.ContentLength != n || hex.EncodeToString(got.Sum(nil)) != sum {
		t.Errorf("download: got %d %x, %v, want %s", r.StatusCode, got.Sum(nil), err, sum)
	}
	grown := c.fact("VmHWM") - idle
	t.Logf("64 MiB passed both ways: memory grew by %d KiB, from %d KiB", grown, idle)
	if grown > 60<<10 {
		t.Errorf("memory grew by %d KiB, want at most %d", grown, 60<<10)
	}
	sum = c.put("small.bin", 3)
	want := `{"size":3145728,"sum":"` + sum + `","length":true,"encoding":"base64","field":"hello"}`
	if status, body := c.upload("/tell", "small.bin"); status != http.StatusOK || body != want {
		t.Errorf("got %d %s, want %s", status, body, want)
	}
	if status, body := c.upload("/tell", "large.bin"); status != http.StatusInternalServerError {
		t.Errorf("beyond the memory of an expression: got %d %s, want 500", status, body)
	}
	c.until("no stored file is left", func() bool {
		stored, unfinished := c.blobs()
		return len(unfinished) == 0 && len(stored) == 1 // of the failed request
	})
}

// fact returns a value of the process' status in KiB.
func (c *carrier) fact(name string) (kib int) {
	c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), name+":")
	if _, err := fmt.Sscan(after, &kib); err != nil {
		c.t.Fatal(err)
	}
	return kib
}

// TestLargeFilesSurviveKills kills the program while it reads a file, and after
// it has read it.
func TestLargeFilesSurviveKills(t *testing.T) {
	c := newCarrier(t)
	sum := c.put("large.bin", 96)
	refuse := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	c.store.Answer(refuse)
	c.start()
	c.carry("large.bin")
	c.until("the file is being read", func() bool { _, unfinished := c.blobs(); return len(unfinished) > 0 })
	c.kill()
	c.start()
	c.until("the file is stored, and the unfinished one deleted", func() bool {
		stored, unfinished := c.blobs()
		return len(stored) == 1 && len(unfinished) == 0
	})
	first, _ := c.blobs()
	c.until("the result is in the journal", func() bool { return len(c.executions("waiting"))+len(c.executions("held")) == 1 })
	c.kill()
	if err := os.Remove(filepath.Join(c.sshd.Files, "large.bin")); err != nil { // it must not be read again
		t.Fatal(err)
	}
	c.start()
	if again, _ := c.blobs(); len(again) != 1 || again[0] != first[0] {
		t.Errorf("after the kill: got files %q, want %q", again, first)
	}
	c.store.Answer(nil)
	c.arrives("large.bin", sum)
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, c.out.String())
	}
}

// TestLostLargeFileFailsItsExecutionAlone damages one stored file of two.
func TestLostLargeFileFailsItsExecutionAlone(t *testing.T) {
	c := newCarrier(t)
	sum := c.put("a.bin", 2)
	c.put("b.bin", 2) // the same content is stored twice
	c.store.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	c.start()
	c.carry("a.bin")
	c.until("a.bin is stored", func() bool { stored, _ := c.blobs(); return len(stored) == 1 })
	first, _ := c.blobs()
	c.carry("b.bin")
	c.until("both files are in journals", func() bool {
		stored, _ := c.blobs()
		return len(stored) == 2 && len(c.executions("waiting"))+len(c.executions("held")) == 2
	})
	backup := filepath.Join(t.TempDir(), "backup")
	if out, err := exec.Command(binary, "backup", backup, "--data", c.data).CombinedOutput(); err != nil {
		t.Fatalf("backup: %v\n%s", err, out)
	}
	if out, err := exec.Command(binary, "check", "--data", backup).CombinedOutput(); err != nil {
		t.Errorf("check of the backup: %v\n%s", err, out)
	}
	if copied, _ := filepath.Glob(filepath.Join(backup, "blobs", "*", "vblob-*")); len(copied) != 2 {
		t.Errorf("the backup has %d stored files, want 2", len(copied))
	}
	c.kill()
	stored, _ := c.blobs()
	damaged := stored[0]
	if damaged == first[0] {
		damaged = stored[1]
	}
	if err := os.WriteFile(damaged, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "check", "--data", c.data).CombinedOutput()
	if err == nil || !strings.Contains(string(out), filepath.Base(damaged)) {
		t.Errorf("check: got %v, want an error that names %s:\n%s", err, filepath.Base(damaged), out)
	}
	c.store.Answer(nil)
	c.start()
	c.until("one has failed and one is complete", func() bool {
		return len(c.executions("failed")) == 1 && len(c.executions("completed")) == 1
	})
	if text := string(c.executions("failed")[0]); !strings.Contains(text, "document_lost") {
		t.Errorf("got %s, want the code document_lost", text)
	}
	r, err := c.store.Get("a.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := sha256.New()
	if _, err := io.Copy(got, r); err != nil || hex.EncodeToString(got.Sum(nil)) != sum {
		t.Errorf("a.bin: got %x, %v, want %s", got.Sum(nil), err, sum)
	}
}
