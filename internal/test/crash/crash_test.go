// Package crash tries to break the promises of the atom. It kills the real
// program with SIGKILL at random while events are posted. A checker that knows
// every acknowledged event, every call and its idempotency key then looks for
// lost and doubled work.
//
// VALENCE_CRASH_ROUNDS sets the number of kills. VALENCE_CRASH_SEED repeats a
// campaign. VALENCE_CRASH_FS, ext4 or tmpfs, makes TestCampaign mount a small file
// system for the data folder, and let it fail and fill up before some kills.
package crash

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"valence/internal/test/program"
	"valence/internal/test/servers"
)

const (
	workers = 8
	clients = 16
	project = `
process: relay
listen: { path: /events, input: json, auth: none }
workers: 8
retry: { max_attempts: 200, backoff: 50ms..500ms }
steps:
  - call: sink.post
    with: { path: "/a/${doc.id}" }
  - call: sink.post
    with: { path: "/h/${input.id}" }
    body: ${input}
    mode: handoff
  - call: sink.post
    with: { path: "/b/${input.id}" }
---
process: early
listen: { path: /early, input: json, output: json, auth: none }
workers: 8
retry: { max_attempts: 200, backoff: 50ms..500ms }
steps:
  - set: { id: "${doc.id}" }
  - reply: { taken: "${doc.id}" }
  - call: sink.post
    with: { path: "/e/${vars.id}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 5s
`
)

var binary string

func TestMain(m *testing.M) { os.Exit(program.Test(m, &binary)) }

// atom is the program under test. It is restarted on one folder.
type atom struct {
	t       *testing.T
	project string
	data    string
	listen  string
	admin   string
	sink    string
	store   []string // flags of a member of a group; nil: no group
	out     program.Output
	cmd     *exec.Cmd
}

func newAtom(t *testing.T, sink string) *atom {
	dir := t.TempDir()
	a := &atom{t: t, project: filepath.Join(dir, "project"), data: filepath.Join(dir, "data"), listen: freeAddr(t), admin: freeAddr(t), sink: sink}
	if err := os.MkdirAll(a.project, 0o755); err != nil {
		t.Fatal(err)
	}
	a.runs(project)
	t.Cleanup(func() {
		if a.cmd != nil && a.cmd.ProcessState == nil {
			a.kill()
		}
	})
	return a
}

// runs sets the project of the next start.
func (a *atom) runs(project string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.project, "project.yaml"), []byte(project), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (a *atom) start() {
	a.t.Helper()
	a.out.Reset()
	a.cmd = a.command()
	a.cmd.Stdout, a.cmd.Stderr = &a.out, &a.out
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		resp, err := http.Get("http://" + a.listen + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return
			}
		}
		pause(10 * time.Millisecond)
	}
	a.kill()
	a.t.Fatalf("the atom does not get ready:\n%s", a.out.String())
}

// command returns the command that starts the atom.
func (a *atom) command() *exec.Cmd {
	cmd := exec.Command(binary, append([]string{"run", "--listen", a.listen, "--admin", a.admin, "--data", a.data, a.project}, a.store...)...)
	cmd.Env = append(os.Environ(), "SINK=http://"+a.sink, "PGPASSWORD="+servers.PostgresPassword)
	return cmd
}

func (a *atom) kill() {
	a.cmd.Process.Signal(syscall.SIGKILL)
	a.cmd.Wait()
}

// stop stops the atom with SIGTERM and returns its exit code.
func (a *atom) stop() int {
	a.cmd.Process.Signal(syscall.SIGTERM)
	a.cmd.Wait()
	return a.cmd.ProcessState.ExitCode()
}

// executions returns the executions with a status from the admin API.
func (a *atom) executions(status string) []json.RawMessage {
	a.t.Helper()
	token, err := os.ReadFile(filepath.Join(a.data, "admin.token"))
	if err != nil {
		a.t.Fatal(err)
	}
	req, err := http.NewRequest("GET", "http://"+a.admin+"/api/v1/executions?status="+status, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	var page struct {
		Executions []json.RawMessage `json:"executions"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || resp.StatusCode != 200 {
		a.t.Fatalf("the admin plane answered %d: %v", resp.StatusCode, err)
	}
	return page.Executions
}

// pause waits for other processes, which have no fake clock.
func pause(d time.Duration) { <-time.After(d) }

// load posts events until stopped and remembers the acknowledged ones.
type load struct {
	next   atomic.Int64
	mu     sync.Mutex
	events []int64 // acknowledged on /events
	early  []int64 // answered on /early
	stop   chan struct{}
	done   sync.WaitGroup
}

func startLoad(addr string) *load {
	l := &load{stop: make(chan struct{})}
	for i := range clients {
		l.done.Add(1)
		go l.client(addr, i%4 == 0)
	}
	return l
}

func (l *load) client(addr string, early bool) {
	defer l.done.Done()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	path, acked := "/events", &l.events
	if early {
		path, acked = "/early", &l.early
	}
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		id := l.next.Add(1)
		resp, err := client.Post("http://"+addr+path, "application/json", strings.NewReader(`{"id":`+strconv.FormatInt(id, 10)+`}`))
		if err != nil {
			pause(5 * time.Millisecond)
			continue
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode == 200 {
			l.mu.Lock()
			*acked = append(*acked, id)
			l.mu.Unlock()
		} else {
			pause(5 * time.Millisecond)
		}
	}
}

func (l *load) finish() {
	close(l.stop)
	l.done.Wait()
}

func rounds(t *testing.T) int {
	text := os.Getenv("VALENCE_CRASH_ROUNDS")
	if text == "" {
		return 4
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("VALENCE_CRASH_ROUNDS=%q is not a number over 0", text)
	}
	return n
}

func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("VALENCE_CRASH_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("VALENCE_CRASH_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func TestKilledAtRandomInstants(t *testing.T) {
	dest := newSink(t)
	a := newAtom(t, dest.addr)
	random, n := seeded(t), rounds(t)
	a.start()
	l := startLoad(a.listen)
	for round := range n {
		pause(time.Duration(100+random.IntN(900)) * time.Millisecond)
		if round%4 == 2 { // the destination is down
			dest.stop()
			pause(200 * time.Millisecond)
			dest.start(t, dest.addr)
		}
		a.kill()
		a.start()
	}
	l.finish()
	awaitAll(t, dest, l)
	check(t, a, dest, l, n)
	if code := a.stop(); code != 0 {
		t.Errorf("after SIGTERM the atom exited with %d:\n%s", code, a.out.String())
	}
}

// awaitAll waits until no call is missing, as long as calls still arrive.
func awaitAll(t *testing.T, dest *sink, l *load) {
	t.Helper()
	last, quiet := 0, time.Now()
	for time.Since(quiet) < 20*time.Second {
		if len(missing(dest, l)) == 0 {
			pause(500 * time.Millisecond) // repeated calls have arrived by now
			return
		}
		dest.mu.Lock()
		total := dest.total
		dest.mu.Unlock()
		if total != last {
			last, quiet = total, time.Now()
		}
		pause(100 * time.Millisecond)
	}
}

func missing(dest *sink, l *load) []string {
	var lost []string
	look := func(ids []int64, steps ...string) {
		for _, id := range ids {
			for _, s := range steps {
				path := "/" + s + "/" + strconv.FormatInt(id, 10)
				if times, _ := dest.got(path); times == 0 {
					lost = append(lost, path)
				}
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	look(l.events, "a", "b", "h")
	look(l.early, "e")
	return lost
}

func check(t *testing.T, a *atom, dest *sink, l *load, kills int) {
	t.Helper()
	if lost := missing(dest, l); len(lost) > 0 {
		t.Errorf("%d calls of acknowledged events are missing, the first: %s", len(lost), lost[0])
	}
	doubled := 0
	dest.mu.Lock()
	for path, keys := range dest.calls {
		if len(keys) != 1 {
			doubled++
			t.Errorf("%s was called with %d idempotency keys", path, len(keys))
		}
		for key := range keys {
			if key == "" {
				t.Errorf("%s was called without an idempotency key", path)
			}
		}
	}
	dest.mu.Unlock()
	// Promise 3: a crash repeats at most the call under way, one per running path.
	repeats := map[string]int{}
	for _, step := range []string{"a", "b", "h", "e"} {
		repeats[step] = dest.repeats(step)
	}
	// a, b and h share the workers of relay. A connection that broke without a
	// kill, because the destination stopped, may repeat as many.
	bound := 2 * kills * workers
	if sum := repeats["a"] + repeats["b"] + repeats["h"]; sum > bound {
		t.Errorf("%d calls of relay were repeated, promise 3 allows %d", sum, bound)
	}
	if repeats["e"] > bound {
		t.Errorf("%d calls of early were repeated, promise 3 allows %d", repeats["e"], bound)
	}
	for _, status := range []string{"failed", "accepted", "waiting", "held", "running"} {
		if found := a.executions(status); len(found) > 0 {
			t.Errorf("at the end there are executions that are %s, such as %s", status, found[0])
		}
	}
	if len(a.executions("completed")) == 0 {
		t.Error("the program shows no completed execution")
	}
	t.Logf("%d kills, %d acknowledged, %d answered early, 0 expected lost: %d missing, %d doubled; repeats %v (allowed %d)",
		kills, len(l.events), len(l.early), len(missing(dest, l)), doubled, repeats, bound)
	if len(l.events) == 0 || len(l.early) == 0 {
		t.Error("nothing was acknowledged: the campaign shows nothing")
	}
}
