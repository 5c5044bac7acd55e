package gate_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

const shop = `process: relay
steps:
  - log: ${props.recordId}
`

// fixture is a control plane with one atom, environment and deployed project,
// at a known generation.
type fixture struct {
	*cloudtest.Plane
	atom        *cloudtest.Atom
	environment cloud.Environment
	pack        cloud.Package
	generation  int64
}

func startPlane(t *testing.T, o cloudtest.Options) *fixture {
	t.Helper()
	s := &fixture{Plane: cloudtest.Start(t, o)}
	s.environment = s.Environment(t, "prod")
	s.atom = cloudtest.Join(t, s.URL, s.InstallToken(t, "prod"), "edge-01")
	s.pack, _ = s.Deploy(t, s.environment.ID, "shop", "1", shop)
	s.settle(t)
	return s
}

// settle polls until the atom has the newest generation.
func (s *fixture) settle(t *testing.T) *wire.Desired {
	t.Helper()
	polled, err := s.atom.Poll(t.Context(), s.generation, 0)
	if err != nil || polled.Desired == nil {
		t.Fatalf("got %+v, %v, want Desired set and no error", polled, err)
	}
	s.generation = polled.Desired.Generation
	return polled.Desired
}

func (s *fixture) execute(t *testing.T, key string) string {
	t.Helper()
	id, err := s.Executions.Execute(t.Context(), s.Admin, cloud.ExecutionRequest{AtomID: s.atom.ID, ProcessName: "relay", Props: json.RawMessage(`{"recordId":"4711"}`), IdempotencyKey: key})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// refused checks the status and code of a refusal.
func refused(t *testing.T, err error, status int, code string) {
	t.Helper()
	var r *cloudtest.Refused
	if !errors.As(err, &r) || r.Status != status || r.Code != code {
		t.Errorf("got %v, want %d %s", err, status, code)
	}
}

// audited reports whether the audit log has a refusal.
func (s *fixture) audited(t *testing.T, code string) bool {
	t.Helper()
	entries, _, err := s.Audit.List(t.Context(), s.Admin, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Action == "refused" && e.Detail == code {
			return true
		}
	}
	return false
}

func TestExecuteReachesAWaitingAtom(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	got := make(chan *wire.PollResponse, 1)
	go func() {
		polled, err := s.atom.Poll(t.Context(), s.generation, 30)
		if err != nil {
			t.Error(err)
		}
		got <- polled
	}()
	for s.Gate.HeldPolls() == 0 {
		time.Sleep(time.Millisecond) // a real server receives the poll
	}
	start := time.Now()
	id := s.execute(t, "")
	polled := <-got
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(polled.Instructions) != 1 || polled.Instructions[0].Execute.Request != id || polled.Instructions[0].Execute.Process != "relay" {
		t.Fatalf("got %+v, want len(polled.Instructions) 1, Request %q and Process relay", polled, id)
	}
}

func TestRefusals(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	ctx := t.Context()
	body := []byte(`{"instance":"x","wait":0,"generation":0}`)
	other := cloudtest.Join(t, s.URL, s.InstallToken(t, "prod"), "edge-02")
	other.Epoch = s.atom.Epoch

	t.Run("a replay", func(t *testing.T) {
		req, err := s.atom.SignedRequest(ctx, http.MethodPost, wire.PathPoll, body)
		if err != nil {
			t.Fatal(err)
		}
		again := req.Clone(ctx)
		again.Body, _ = req.GetBody()
		if _, err := s.atom.Do(req); err != nil {
			t.Fatal(err)
		}
		_, err = s.atom.Do(again)
		refused(t, err, 401, "replayed")
	})
	t.Run("another's key", func(t *testing.T) {
		forger := *other
		forger.ID, forger.Counter = s.atom.ID, 1000
		_, err := forger.Poll(ctx, 0, 0)
		refused(t, err, 401, "bad_signature")
	})
	t.Run("nobody", func(t *testing.T) {
		nobody := *other
		nobody.ID = "nobody"
		_, err := nobody.Poll(ctx, 0, 0)
		refused(t, err, 401, "unknown_atom")
	})
	t.Run("unsigned", func(t *testing.T) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+wire.PathPoll, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		_, err = other.Do(req)
		refused(t, err, 401, "unsigned")
	})
	t.Run("an old epoch", func(t *testing.T) {
		old := *other
		old.Epoch = "of yesterday"
		req, err := old.SignedRequest(ctx, http.MethodPost, wire.PathPoll, body)
		if err != nil {
			t.Fatal(err)
		}
		_, err = old.Do(req)
		refused(t, err, 401, "wrong_epoch")
	})
	t.Run("revoked", func(t *testing.T) {
		if err := s.Fleet.RevokeAtom(ctx, s.Admin, other.ID); err != nil {
			t.Fatal(err)
		}
		_, err := other.Poll(ctx, 0, 0)
		refused(t, err, 401, "revoked")
	})
	for _, code := range []string{"replayed", "bad_signature", "revoked"} {
		if !s.audited(t, code) {
			t.Errorf("%s is not in the audit log", code)
		}
	}
}

func TestInstallTokens(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	ctx := t.Context()
	token := s.InstallToken(t, "prod")
	a := cloudtest.NewAtom(s.URL)
	first, err := a.Enroll(ctx, token, "edge-02")
	if err != nil || first.Environment != "prod" {
		t.Fatalf("got %+v, %v, want Environment prod and no error", first, err)
	}
	again, err := a.Enroll(ctx, token, "edge-02") // its response was lost
	if err != nil || again.Atom != first.Atom {
		t.Errorf("the same enrolment again: %+v, %v", again, err)
	}
	_, err = cloudtest.NewAtom(s.URL).Enroll(ctx, token, "edge-03")
	refused(t, err, 401, wire.CodeUsedToken)
	if !s.audited(t, wire.CodeUsedToken) {
		t.Error("the repeated use of a token is not in the audit log")
	}
	_, err = cloudtest.NewAtom(s.URL).Enroll(ctx, "vi_nothing", "edge-03")
	refused(t, err, 401, wire.CodeUnknownToken)
	next := s.InstallToken(t, "prod")
	_, err = cloudtest.NewAtom(s.URL).Enroll(ctx, next, "edge-02")
	refused(t, err, 409, "conflict")
	forged := cloudtest.NewAtom(s.URL)
	forged.Key = cloudtest.NewAtom(s.URL).Key
	if _, err = forged.Enroll(ctx, next, "edge-03"); err != nil { // neither attempt used it up
		t.Error(err)
	}
}
