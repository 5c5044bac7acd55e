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

// station is a control plane with one atom in one environment that has a
// project, and knows its generation.
type station struct {
	*cloudtest.Plane
	atom        *cloudtest.Atom
	environment cloud.Environment
	pack        cloud.Package
	generation  int64
}

func begin(t *testing.T, o cloudtest.Options) *station {
	t.Helper()
	s := &station{Plane: cloudtest.Start(t, o)}
	s.environment = s.Environment(t, "prod")
	s.atom = cloudtest.Join(t, s.URL, s.InstallToken(t, "prod"), "edge-01")
	s.pack, _ = s.Deploy(t, s.environment.ID, "shop", "1", shop)
	s.settle(t)
	return s
}

// settle polls until the atom has the newest generation.
func (s *station) settle(t *testing.T) *wire.Desired {
	t.Helper()
	polled, err := s.atom.Poll(t.Context(), s.generation, 0)
	if err != nil || polled.Desired == nil {
		t.Fatalf("%+v, %v", polled, err)
	}
	s.generation = polled.Desired.Generation
	return polled.Desired
}

func (s *station) execute(t *testing.T, key string) string {
	t.Helper()
	id, err := s.Execute(t.Context(), s.Admin, cloud.ExecutionRequest{AtomID: s.atom.ID, ProcessName: "relay", Props: json.RawMessage(`{"recordId":"4711"}`), IdempotencyKey: key})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// refused holds an error against the refusal that it is to be.
func refused(t *testing.T, err error, status int, code string) {
	t.Helper()
	var r *cloudtest.Refused
	if !errors.As(err, &r) || r.Status != status || r.Code != code {
		t.Errorf("got %v, want %d %s", err, status, code)
	}
}

// audited reports whether the account's log has a refusal.
func (s *station) audited(t *testing.T, code string) bool {
	t.Helper()
	entries, _, err := s.AuditLog(t.Context(), s.Admin, 0, 100)
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
	s := begin(t, cloudtest.Options{})
	got := make(chan *wire.Polled, 1)
	go func() {
		polled, err := s.atom.Poll(t.Context(), s.generation, 30)
		if err != nil {
			t.Error(err)
		}
		got <- polled
	}()
	for s.Gate.Held() == 0 {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	id := s.execute(t, "")
	polled := <-got
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(polled.Messages) != 1 || polled.Messages[0].Execute.Request != id || polled.Messages[0].Execute.Process != "relay" {
		t.Fatalf("%+v", polled)
	}
}

func TestRefusals(t *testing.T) {
	s := begin(t, cloudtest.Options{})
	ctx := t.Context()
	body := []byte(`{"instance":"x","wait":0,"generation":0}`)
	other := cloudtest.Join(t, s.URL, s.InstallToken(t, "prod"), "edge-02")
	other.Epoch = s.atom.Epoch

	t.Run("a replay", func(t *testing.T) {
		req, err := s.atom.Request(ctx, http.MethodPost, wire.PathPoll, body)
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
		req, err := old.Request(ctx, http.MethodPost, wire.PathPoll, body)
		if err != nil {
			t.Fatal(err)
		}
		_, err = old.Do(req)
		refused(t, err, 401, "wrong_epoch")
	})
	t.Run("revoked", func(t *testing.T) {
		if err := s.RevokeAtom(ctx, s.Admin, other.ID); err != nil {
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
	s := begin(t, cloudtest.Options{})
	ctx := t.Context()
	token := s.InstallToken(t, "prod")
	a := cloudtest.NewAtom(s.URL)
	first, err := a.Enrol(ctx, token, "edge-02")
	if err != nil || first.Environment != "prod" {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := a.Enrol(ctx, token, "edge-02") // its answer was lost
	if err != nil || again.Atom != first.Atom {
		t.Errorf("the same enrolment again: %+v, %v", again, err)
	}
	_, err = cloudtest.NewAtom(s.URL).Enrol(ctx, token, "edge-03")
	refused(t, err, 401, cloud.CodeUsedToken)
	if !s.audited(t, cloud.CodeUsedToken) {
		t.Error("that a token was used twice is not in the audit log")
	}
	_, err = cloudtest.NewAtom(s.URL).Enrol(ctx, "vi_nothing", "edge-03")
	refused(t, err, 401, cloud.CodeUnknownToken)
	next := s.InstallToken(t, "prod")
	_, err = cloudtest.NewAtom(s.URL).Enrol(ctx, next, "edge-02")
	refused(t, err, 409, "conflict")
	forged := cloudtest.NewAtom(s.URL)
	forged.Key = cloudtest.NewAtom(s.URL).Key
	if _, err = forged.Enrol(ctx, next, "edge-03"); err != nil { // neither of these used it up
		t.Error(err)
	}
}
