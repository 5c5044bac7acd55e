package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/operator"
	"valence/cloud/platform"
	"valence/internal/wire"
)

// control is a control plane under test. It is restarted on one folder.
type control struct {
	caller
	data string
	cmd  *exec.Cmd
	out  bytes.Buffer
}

func (c *control) start() {
	c.t.Helper()
	listen := "127.0.0.1:0"
	if c.url != "" {
		listen = strings.TrimPrefix(c.url, "http://")
	}
	file := filepath.Join(c.data, "cloud.json")
	os.Remove(file)
	c.cmd = exec.Command(binary, "cloud", "--listen", listen, "--data", c.data, "--rate", "100000")
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	var address struct{ URL string }
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) { // another program is polled
		text, err := os.ReadFile(file)
		if err == nil && json.Unmarshal(text, &address) == nil {
			break
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the control plane does not start:\n%s", c.out.String())
		}
	}
	c.url = address.URL
	token, err := os.ReadFile(filepath.Join(c.data, "admin.token"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.token = strings.TrimSpace(string(token))
}

func (c *control) kill() {
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGKILL) // it may have exited
	_ = c.cmd.Wait()
	c.cmd = nil
}

// TestControlPlaneKilled kills the control plane while execution requests
// arrive, also between acceptance and response. Each answered request reaches
// the atom under one id, and a request repeated with its key is not doubled.
func TestControlPlaneKilled(t *testing.T) {
	c := &control{caller: caller{t: t, client: http.DefaultClient}, data: filepath.Join(t.TempDir(), "plane")}
	c.start()
	defer c.kill()
	atom, process := c.prepare()
	defer atom.Client.CloseIdleConnections()

	const (
		rounds  = 6
		senders = 8
	)
	answered := map[string]string{} // request id by key
	received := map[string]int{}    // deliveries by request id
	var mu sync.Mutex
	var sent int
	for round := range rounds {
		stop := make(chan struct{})
		var all sync.WaitGroup
		for n := range senders {
			all.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					c.request(atom.ID, process, fmt.Sprintf("k-%d-%d-%d", round, n, i), answered, &sent, &mu)
				}
			})
		}
		all.Go(func() { take(atom, received, &mu, stop) })
		time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond) // the moment of the kill
		c.kill()
		close(stop)
		all.Wait()
		c.start()
	}
	// Requests without a response are repeated with the same keys.
	for key, id := range answered {
		if id == "" {
			c.request(atom.ID, process, key, answered, &sent, &mu)
		}
	}
	stop := make(chan struct{})
	time.AfterFunc(20*time.Second, func() { close(stop) })
	for {
		mu.Lock()
		missing := 0
		for _, id := range answered {
			if received[id] == 0 {
				missing++
			}
		}
		mu.Unlock()
		if missing == 0 {
			break
		}
		select {
		case <-stop:
			t.Fatalf("%d of %d requests did not reach the atom", missing, len(answered))
		default:
			take(atom, received, &mu, nil)
		}
	}
	ids := map[string]bool{}
	for key, id := range answered {
		if id == "" || ids[id] {
			t.Errorf("the request %s has the id %q", key, id)
		}
		ids[id] = true
	}
	for id := range received {
		if !ids[id] {
			t.Errorf("the atom got %s, which was asked for a second time under another id", id)
		}
	}
	if len(answered) < 50 {
		t.Errorf("only %d requests were made", len(answered))
	}
	t.Logf("%d requests, %d attempts, %d kills", len(answered), sent, rounds)
}

// prepare creates an environment with an atom and a process, and returns the
// atom and the id of the process.
func (c *control) prepare() (*cloudtest.Atom, string) {
	c.t.Helper()
	var made struct{ ID, Token, PackageID string }
	own := operator.Root + "default"
	c.must(http.MethodPost, own+"/environments", "application/json", []byte(`{"name":"prod"}`), &made)
	environment := made.ID
	c.must(http.MethodPost, own+"/install-tokens", "application/json", []byte(`{"environment":"prod"}`), &made)
	atom := cloudtest.Join(c.t, c.url, made.Token, "edge-01")
	archive, err := wire.Pack([]wire.PackageFile{{Name: "p.yaml", Content: []byte("process: relay\nsteps:\n  - log: hello\n")}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.must(http.MethodPost, platform.Root+"default/Package/upload?project=shop&version=1", "application/x-tar", archive, &made)
	c.must(http.MethodPost, platform.Root+"default/DeployedPackage", "application/json",
		fmt.Appendf(nil, `{"environmentId":%q,"packageId":%q}`, environment, made.PackageID), nil)
	return atom, cloud.ProcessID("default", "shop", "relay")
}

// request sends an execution request and stores the response's id, or "" without
// a response.
func (c *control) request(atom, process, key string, answered map[string]string, sent *int, mu *sync.Mutex) {
	mu.Lock()
	answered[key] = ""
	*sent++
	mu.Unlock()
	body := fmt.Sprintf(`{"@type":"ExecutionRequest","atomId":%q,"processId":%q,"idempotencyKey":%q}`, atom, process, key)
	var out struct{ RequestID string }
	if err := c.ask(http.MethodPost, platform.Root+"default/ExecutionRequest", "application/json", []byte(body), &out); err != nil {
		return
	}
	mu.Lock()
	answered[key] = out.RequestID
	mu.Unlock()
}

// take polls and acknowledges the messages until stop is closed, or once if stop
// is nil.
func take(atom *cloudtest.Atom, received map[string]int, mu *sync.Mutex, stop <-chan struct{}) {
	var ack []int64
	var generation int64
	for {
		polled, err := atom.Poll(context.Background(), generation, 1, ack...)
		if err == nil {
			ack = ack[:0]
			if polled.Desired != nil {
				generation = polled.Desired.Generation
			}
			mu.Lock()
			for _, m := range polled.Instructions {
				if m.Kind == wire.KindExecute {
					received[m.Execute.Request]++
				}
				ack = append(ack, m.ID)
			}
			mu.Unlock()
		}
		if stop == nil && (err != nil || len(ack) == 0 && polled.Desired == nil) {
			return
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}
