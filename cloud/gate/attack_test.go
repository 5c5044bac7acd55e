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

// TestSlowEnrollmentsDelayNoOne: incomplete enrollments do not delay other
// requests.
func TestSlowEnrollmentsDelayNoOne(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	for range 4 * runtime.GOMAXPROCS(0) {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", wire.PathEnroll)
	}
	time.Sleep(50 * time.Millisecond) // waits until the server has read the sent part
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := s.atom.Poll(ctx, s.generation, 0); err != nil {
		t.Errorf("a poll was delayed by incomplete enrollments: %v", err)
	}
}

// TestIncompleteRequests: an incomplete request is answered so that the atom sends it
// again.
func TestIncompleteRequests(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	for body, want := range map[string]string{
		strings.Repeat("x", 100):      "HTTP/1.1 408 ",
		strings.Repeat("x", 64<<10+1): "HTTP/1.1 413 ",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n%s", wire.PathEnroll, body)
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

// TestOneTokenManyKeys: of concurrent enrollments with one token, one succeeds.
func TestOneTokenManyKeys(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	token := s.InstallToken(t, "prod")
	var all sync.WaitGroup
	var in atomic.Int64
	for i := range 20 {
		all.Go(func() {
			a := cloudtest.NewAtom(s.URL)
			defer a.Client.CloseIdleConnections()
			if _, err := a.Enroll(t.Context(), token, fmt.Sprint("edge-1", i)); err == nil {
				in.Add(1)
			}
		})
	}
	all.Wait()
	if n := in.Load(); n != 1 {
		t.Errorf("got %d atoms enrolled with one token, want 1", n)
	}
}

// TestOtherAtomsHaveNoAccess: an atom gets no package, request or result of another
// environment or account.
func TestOtherAtomsHaveNoAccess(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	ctx := t.Context()
	s.Environment(t, "test")
	token, err := s.Accounts.Create(ctx, s.Admin, "acme")
	if err != nil {
		t.Fatal(err)
	}
	boss, err := s.Accounts.Authenticate(ctx, "acme", "admin", token)
	if err != nil {
		t.Fatal(err)
	}
	there, err := s.Environments.Create(ctx, boss, cloud.Environment{Name: "prod"})
	if err != nil {
		t.Fatal(err)
	}
	install, err := s.Fleet.CreateInstallToken(ctx, boss, there.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	request := s.execute(t, "")
	mine, err := s.atom.Poll(ctx, s.generation, 0)
	if err != nil || len(mine.Instructions) != 1 {
		t.Fatalf("got %+v %v, want len(mine.Instructions) 1 and no error", mine, err)
	}
	for name, other := range map[string]*cloudtest.Atom{
		"another environment": cloudtest.Join(t, s.URL, s.InstallToken(t, "test"), "edge-02"),
		"another account":     cloudtest.Join(t, s.URL, install.Token, "edge-01"),
	} {
		if _, err := other.Poll(ctx, 0, 0, mine.Instructions[0].ID); err != nil { // acknowledges another atom's instruction
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
	if r, err := s.Executions.WaitRecord(ctx, s.Admin, request, 0); r != nil || err != nil {
		t.Errorf("another atom's report ended the request: %+v, %v", r, err)
	}
	all, err := s.Deployments.List(ctx, s.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if x, err := s.Deployments.Get(ctx, s.Admin, d.ID); err != nil || len(x.Results) != 0 {
			t.Errorf("another atom's result of a deployment: %+v, %v", x.Results, err)
		}
	}
	if a, err := s.Fleet.Atom(ctx, s.Admin, s.atom.ID); err != nil || a.Waiting != 1 {
		t.Errorf("got %d undelivered instructions, %v: another atom acknowledged one", a.Waiting, err)
	}
}

// TestOneAtomCannotStarveOthers: a compromised atom gets no more than its share of
// requests.
func TestOneAtomCannotStarveOthers(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	ctx := t.Context()
	other := cloudtest.Join(t, s.URL, s.InstallToken(t, "prod"), "edge-02")
	large := make([]byte, 16<<20)
	archive, err := wire.Pack([]wire.PackageFile{{Name: "p.yaml", Content: []byte(shop)}, {Name: "large.bin", Content: large}})
	if err != nil {
		t.Fatal(err)
	}
	x, err := s.Packages.Create(ctx, s.Admin, cloud.Upload{Archive: archive, Project: "shop", Version: "large"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Service.Deployments.Deploy(ctx, s.Admin, cloud.Deployment{PackageID: x.ID, EnvironmentID: s.environment.ID}); err != nil {
		t.Fatal(err)
	}
	codes := map[int]int{}
	for range 20 {
		req, err := s.atom.SignedRequest(ctx, http.MethodGet, wire.PathPackages+x.SHA256, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.atom.Client.Do(req) // the body is not read
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		codes[resp.StatusCode]++
	}
	if codes[200] != 8 || codes[503] != 12 {
		t.Errorf("answers: got %v, want codes[200] 8 and codes[503] 12", codes)
	}
	if _, err := other.Poll(ctx, 0, 0); err != nil {
		t.Errorf("another atom: %v", err)
	}
}
