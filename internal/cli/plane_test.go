package cli_test

import (
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/platform"
)

// planes are the control planes started by scripts.
type planes struct {
	t        *testing.T
	mu       sync.Mutex
	byFolder map[string]*cloudtest.Plane // by the folder of the script
}

func newPlanes(t *testing.T) *planes { return &planes{t: t, byFolder: map[string]*cloudtest.Plane{}} }

// start starts a control plane with the environments test and prod, sets CLOUD,
// and writes deployer.token: `plane`.
func (p *planes) start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: plane")
	}
	x := cloudtest.Start(p.t, cloudtest.Options{Handler: func(s *cloud.Service) http.Handler {
		return platform.New(platform.Options{Service: s})
	}})
	x.Environment(p.t, "test")
	x.Environment(p.t, "prod")
	token, err := x.Accounts.CreateToken(p.t.Context(), x.Admin, cloud.Token{Name: "ci", Role: cloud.Deployer})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("deployer.token"), []byte(token.Secret+"\n"), 0o600))
	ts.Setenv("CLOUD", x.URL)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byFolder[ts.MkAbs(".")] = x
}

// token creates an install token: `install-token ENVIRONMENT VARIABLE`.
func (p *planes) token(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: install-token ENVIRONMENT VARIABLE")
	}
	p.mu.Lock()
	x := p.byFolder[ts.MkAbs(".")]
	p.mu.Unlock()
	ts.Setenv(args[1], x.InstallToken(p.t, args[0]))
}
