package gate_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// TestSlowEnrolmentsHoldNobodyUp: anybody may begin to enrol, and send nothing more.
func TestSlowEnrolmentsHoldNobodyUp(t *testing.T) {
	s := begin(t, cloudtest.Options{})
	for range 4 * runtime.GOMAXPROCS(0) {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", wire.PathEnrol)
	}
	time.Sleep(50 * time.Millisecond) // what they sent is there
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := s.atom.Poll(ctx, s.generation, 0); err != nil {
		t.Errorf("an atom waits for those who do not send: %v", err)
	}
}

// TestCutRequests: a request that did not come whole is no bad one: its atom is
// to send it again.
func TestCutRequests(t *testing.T) {
	s := begin(t, cloudtest.Options{})
	for body, want := range map[string]string{
		strings.Repeat("x", 100):      "HTTP/1.1 408 ",
		strings.Repeat("x", 64<<10+1): "HTTP/1.1 413 ",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n%s", wire.PathEnrol, body)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 512)
		n, err := c.Read(answer)
		if got := string(answer[:n]); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%d bytes of the body: %q, %v, want %q", len(body), got, err, want)
		}
	}
}

// TestOneTokenManyKeys: of those who bring one token at the same time, one gets in.
func TestOneTokenManyKeys(t *testing.T) {
	s := begin(t, cloudtest.Options{})
	token := s.InstallToken(t, "prod")
	var all sync.WaitGroup
	var in atomic.Int64
	for i := range 20 {
		all.Go(func() {
			a := cloudtest.NewAtom(s.URL)
			defer a.Client.CloseIdleConnections()
			if _, err := a.Enrol(t.Context(), token, fmt.Sprint("edge-1", i)); err == nil {
				in.Add(1)
			}
		})
	}
	all.Wait()
	if n := in.Load(); n != 1 {
		t.Errorf("%d atoms came in with one token", n)
	}
}

// TestOfOthers: an atom gets no package, request or result that is not its own,
// whether it is of another environment or of another account.
func TestOfOthers(t *testing.T) {
	s := begin(t, cloudtest.Options{})
	ctx := t.Context()
	s.Environment(t, "test")
	token, err := s.CreateAccount(ctx, s.Admin, "acme")
	if err != nil {
		t.Fatal(err)
	}
	boss, err := s.Authenticate(ctx, "acme", "admin", token)
	if err != nil {
		t.Fatal(err)
	}
	there, err := s.CreateEnvironment(ctx, boss, cloud.Environment{Name: "prod"})
	if err != nil {
		t.Fatal(err)
	}
	install, err := s.CreateInstallToken(ctx, boss, there.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	request := s.execute(t, "")
	mine, err := s.atom.Poll(ctx, s.generation, 0)
	if err != nil || len(mine.Messages) != 1 {
		t.Fatal(mine, err)
	}
	for name, other := range map[string]*cloudtest.Atom{
		"another environment": cloudtest.Join(t, s.URL, s.InstallToken(t, "test"), "edge-02"),
		"another account":     cloudtest.Join(t, s.URL, install.Token, "edge-01"),
	} {
		if _, err := other.Poll(ctx, 0, 0, mine.Messages[0].ID); err != nil { // acknowledges what is not its own
			t.Fatal(err)
		}
		_, err := other.Call(ctx, http.MethodGet, wire.PathPackages+s.pack.SHA256, nil)
		refused(t, err, 404, "not_found")
		err = other.Report(ctx, wire.Reports{
			Executions:  []wire.ExecutionReport{{Execution: "x", Request: request, Process: "relay", Status: "completed", Received: time.Now()}},
			Deployments: []wire.DeploymentReport{{Generation: s.generation, Package: s.pack.SHA256, State: "failed", Detail: name}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.WaitRecord(ctx, s.Admin, request, 0); r != nil || err != nil {
		t.Errorf("another atom's report ended the request: %+v, %v", r, err)
	}
	all, err := s.Deployments(ctx, s.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if x, err := s.Deployment(ctx, s.Admin, d.ID); err != nil || len(x.Results) != 0 {
			t.Errorf("another atom's result of a deployment: %+v, %v", x.Results, err)
		}
	}
	if a, err := s.Atom(ctx, s.Admin, s.atom.ID); err != nil || a.Waiting != 1 {
		t.Errorf("%d messages wait, %v: another atom acknowledged it", a.Waiting, err)
	}
}

// TestOneAtomAsksTooMuch: an atom that has been taken over gets no more than its
// share, and others get theirs.
func TestOneAtomAsksTooMuch(t *testing.T) {
	s := begin(t, cloudtest.Options{})
	ctx := t.Context()
	other := cloudtest.Join(t, s.URL, s.InstallToken(t, "prod"), "edge-02")
	large := make([]byte, 16<<20)
	archive, err := wire.Pack([]wire.PackFile{{Name: "p.yaml", Content: []byte(shop)}, {Name: "large.bin", Content: large}})
	if err != nil {
		t.Fatal(err)
	}
	x, err := s.CreatePackage(ctx, s.Admin, cloud.Upload{Archive: archive, Project: "shop", Version: "large"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Service.Deploy(ctx, s.Admin, cloud.Deployment{PackageID: x.ID, EnvironmentID: s.environment.ID}); err != nil {
		t.Fatal(err)
	}
	codes := map[int]int{}
	for range 20 {
		req, err := s.atom.Request(ctx, http.MethodGet, wire.PathPackages+x.SHA256, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.atom.Client.Do(req) // and the body is not read
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		codes[resp.StatusCode]++
	}
	if codes[200] != 8 || codes[503] != 12 {
		t.Errorf("answers: %v", codes)
	}
	if _, err := other.Poll(ctx, 0, 0); err != nil {
		t.Errorf("another atom: %v", err)
	}
}
