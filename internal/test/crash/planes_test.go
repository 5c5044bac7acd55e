package crash

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/operator"
	"valence/cloud/platform"
	"valence/internal/test/servers"
	"valence/internal/wire"
)

// balancer forwards each connection to the next address that accepts it.
type balancer struct {
	net.Listener
	to   []string
	next atomic.Int64
	all  sync.WaitGroup
}

func newBalancer(t *testing.T, to ...string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{Listener: l, to: to}
	b.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.all.Go(func() { b.pass(c) })
		}
	})
	t.Cleanup(func() { l.Close() })
	return b
}

func (b *balancer) pass(c net.Conn) {
	defer c.Close()
	for range b.to {
		d, err := net.DialTimeout("tcp", b.to[int(b.next.Add(1))%len(b.to)], time.Second)
		if err != nil {
			continue
		}
		defer d.Close()
		done := make(chan struct{}, 2)
		for _, pair := range [][2]net.Conn{{c, d}, {d, c}} {
			b.all.Go(func() {
				_, _ = io.Copy(pair[0], pair[1]) // closing one side closes both
				done <- struct{}{}
			})
		}
		<-done
		return
	}
}

// sharedPlane is one of several control planes on a shared database.
type sharedPlane struct {
	t        *testing.T
	data     string
	listen   string
	database string
	cmd      *exec.Cmd
	out      bytes.Buffer
}

func (p *sharedPlane) start() {
	p.t.Helper()
	p.cmd = exec.Command(binary, "cloud", "--listen", p.listen, "--data", p.data, "--store", p.database, "--rate", "100000")
	p.cmd.Env = append(os.Environ(), "PGPASSWORD="+servers.PostgresPassword)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; pause(10 * time.Millisecond) {
		resp, err := http.Get("http://" + p.listen + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			p.kill()
			p.t.Fatalf("the control plane does not start:\n%s", p.out.String())
		}
	}
}

func (p *sharedPlane) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(syscall.SIGKILL) // it may have exited
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// stop stops the control plane with SIGTERM, as for an upgrade.
func (p *sharedPlane) stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it is running
	begin := time.Now()
	if err := p.cmd.Wait(); err != nil || time.Since(begin) > 20*time.Second {
		p.t.Errorf("it stopped after %v: %v", time.Since(begin), err)
	}
	p.cmd = nil
}

// fleet is two control planes with a balancer, an atom that joined through it,
// and a sink that counts the atom's calls.
type fleet struct {
	caller // through the balancer, with a new connection for each request
	server *servers.Postgres
	planes [2]*sharedPlane
	atom   string

	mu   sync.Mutex
	runs map[string]int
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{runs: map[string]int{}, caller: caller{t: t, wait: true, client: &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}}
	var err error
	if f.server, err = servers.NewPostgres(); err == nil {
		err = f.server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.server.Remove)
	database := strings.Replace(f.server.URL(f.server.Database(t)), ":"+servers.PostgresPassword+"@", "@", 1)
	dir := t.TempDir()
	for i := range f.planes {
		p := &sharedPlane{t: t, data: filepath.Join(dir, fmt.Sprint("plane", i)), listen: freeAddr(t), database: database}
		f.planes[i] = p
		if i > 0 {
			key, err := os.ReadFile(filepath.Join(f.planes[0].data, "secrets.key"))
			if err == nil {
				err = os.MkdirAll(p.data, 0o700)
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(p.data, "secrets.key"), key, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		p.start()
		t.Cleanup(p.kill)
	}
	token, err := os.ReadFile(filepath.Join(f.planes[0].data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	f.token = strings.TrimSpace(string(token))
	f.url = "http://" + newBalancer(t, f.planes[0].listen, f.planes[1].listen).Addr().String()
	f.deploy(dir)
	return f
}

// deploy joins a real atom and deploys a process to it.
func (f *fleet) deploy(dir string) {
	f.t.Helper()
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.runs[strings.TrimPrefix(r.URL.Path, "/")]++
		f.mu.Unlock()
	}))
	f.t.Cleanup(sink.Close)
	var made struct{ ID, Token, PackageID string }
	own := operator.Root + "default"
	f.must(http.MethodPost, own+"/environments", "application/json", []byte(`{"name":"prod"}`), &made)
	environment := made.ID
	f.must(http.MethodPost, own+"/install-tokens", "application/json", []byte(`{"environment":"prod"}`), &made)
	data := filepath.Join(dir, "atom")
	if out, err := exec.Command(binary, "join", f.url, "--token", made.Token, "--name", "edge-01", "--data", data).CombinedOutput(); err != nil {
		f.t.Fatalf("join: %v\n%s", err, out)
	}
	archive, err := wire.Pack([]wire.PackageFile{{Name: "p.yaml", Content: []byte("process: relay\nworkers: 8\nsteps:\n  - call: sink.post\n    with: { path: \"/${props.recordId}\" }\n---\nconnection: sink\nconnector: http\nurl: " + sink.URL + "\n")}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.must(http.MethodPost, platform.Root+"default/Package/upload?project=shop&version=1", "application/x-tar", archive, &made)
	f.must(http.MethodPost, platform.Root+"default/DeployedPackage", "application/json", fmt.Appendf(nil, `{"environmentId":%q,"packageId":%q}`, environment, made.PackageID), nil)
	out := &bytes.Buffer{}
	cmd := exec.Command(binary, "run", "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have exited
		_ = cmd.Wait()
		if f.t.Failed() {
			f.t.Logf("the atom:\n%s", out)
			for _, p := range f.planes {
				f.t.Logf("a control plane:\n%s", p.out.String())
			}
		}
	})
	var all struct{ Atoms []struct{ ID, Status string } }
	for deadline := time.Now().Add(30 * time.Second); len(all.Atoms) == 0 || all.Atoms[0].Status != cloud.Online; pause(20 * time.Millisecond) {
		f.must(http.MethodGet, own+"/atoms", "application/json", nil, &all)
		if time.Now().After(deadline) {
			f.t.Fatalf("the atom is not there: %v", all)
		}
	}
	f.atom = all.Atoms[0].ID
}

// request sends an execution request and returns its id.
func (f *fleet) request(n int) (string, error) {
	body := fmt.Sprintf(`{"@type":"ExecutionRequest","atomId":%q,"processId":%q,"idempotencyKey":"k-%d","DynamicProcessProperties":{"DynamicProcessProperty":[{"name":"recordId","value":"r%d"}]}}`,
		f.atom, cloud.ProcessID("default", "shop", "relay"), n, n)
	var out struct{ RequestID string }
	err := f.ask(http.MethodPost, platform.Root+"default/ExecutionRequest", "application/json", []byte(body), &out)
	return out.RequestID, err
}

// status waits for the record of a request, for at most 30 s.
func (f *fleet) status(id string) (string, error) {
	var out struct{ Result []struct{ Status string } }
	err := f.ask(http.MethodGet, platform.Root+"default/ExecutionRecord/async/"+id, "application/json", nil, &out)
	if err != nil || len(out.Result) == 0 {
		return "", err
	}
	return out.Result[0].Status, nil
}

// TestOneOfTwoControlPlanesKilled sends 2,000 execution requests through the
// balancer while one control plane is killed, the other one upgraded, and the
// database crashes. None is lost and none runs twice.
func TestOneOfTwoControlPlanesKilled(t *testing.T) {
	f := newFleet(t)
	var latencies []time.Duration
	for n := range 60 {
		begin := time.Now()
		id, err := f.request(-1 - n)
		if err != nil {
			t.Fatal(err)
		}
		if status, err := f.status(id); err != nil || status != cloud.Complete {
			t.Fatalf("%s: got %q, %v, want status COMPLETE and no error", id, status, err)
		}
		latencies = append(latencies, time.Since(begin))
	}
	slices.Sort(latencies)
	t.Logf("from a request to its record, each call at another control plane than the one before: median %v, 95%% %v, most %v",
		latencies[30], latencies[57], latencies[59])

	const requests = 2000
	ids := make([]string, requests)
	var next, answered, attempts atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	for range 8 {
		all.Go(func() {
			for n := int(next.Add(1)) - 1; n < requests; n = int(next.Add(1)) - 1 {
				for deadline := time.Now().Add(time.Minute); ids[n] == "" && time.Now().Before(deadline); {
					attempts.Add(1)
					id, err := f.request(n)
					if err != nil {
						pause(20 * time.Millisecond)
						continue
					}
					ids[n] = id
					answered.Add(1)
				}
			}
		})
	}
	await := func(n int64) {
		for answered.Load() < n {
			pause(time.Millisecond)
		}
	}
	await(500)
	f.planes[0].kill()
	await(1000)
	f.planes[0].start()
	await(1250)
	f.planes[1].stop()
	f.planes[1].start()
	await(1500)
	f.server.Kill(syscall.SIGKILL)
	if err := f.server.Start(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	t.Logf("%d requests in %v, %d attempts", answered.Load(), time.Since(begin).Round(time.Millisecond), attempts.Load())

	missing := 0
	deadline := time.Now().Add(time.Minute)
	for n, id := range ids {
		status := ""
		for status != cloud.Complete && time.Now().Before(deadline) {
			var err error
			if status, err = f.status(id); err != nil {
				pause(100 * time.Millisecond)
			}
		}
		f.mu.Lock()
		runs := f.runs[fmt.Sprint("r", n)]
		f.mu.Unlock()
		if status != cloud.Complete || runs != 1 {
			missing++
			if missing < 10 {
				t.Errorf("the request %d (%s) is %q and ran %d times", n, id, status, runs)
			}
		}
	}
	for _, p := range f.planes {
		if strings.Contains(p.out.String(), servers.PostgresPassword) {
			t.Error("the password of the database is in a log")
		}
	}
}
