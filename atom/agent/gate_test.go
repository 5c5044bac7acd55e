package agent

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"valence/atom/agent/cloudclient"
	"valence/cloud"
	"valence/cloud/cloudtest"
)

// TestWithGate runs the agent against a real control plane.
func TestWithGate(t *testing.T) {
	dir := t.TempDir()
	p := cloudtest.Start(t, cloudtest.Options{Dir: dir})
	environment := p.Environment(t, "prod")
	data := t.TempDir()
	id, err := cloudclient.NewIdentity(p.URL, "edge-01", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cloudclient.Join(t.Context(), data, id, p.InstallToken(t, "prod"), "test", "here"); err != nil {
		t.Fatal(err)
	}
	r := start(t, nil, data, nil, nil)
	if err := p.Environments.SetExtensions(t.Context(), p.Admin, environment.ID, []cloud.Extension{{Name: "env.PLACE", Value: "here", Set: true}, {Name: "secret.KEY", Value: "s3cret", Secret: true, Set: true}}); err != nil {
		t.Fatal(err)
	}
	_, d := p.Deploy(t, environment.ID, "orders", "1", twoProcess)
	eventually(t, "the deployment's result", func() bool {
		x, err := p.Deployments.Get(t.Context(), p.Admin, d.ID)
		return err == nil && len(x.Results) == 1 && x.Results[0].State == "active"
	})
	execute := func(key string) string {
		request, err := p.Executions.Execute(t.Context(), p.Admin, cloud.ExecutionRequest{AtomID: id.Atom, ProcessName: "one", Props: json.RawMessage(`{"n":"1"}`), IdempotencyKey: key})
		if err != nil {
			t.Fatal(err)
		}
		return request
	}
	complete := func(request string) {
		t.Helper()
		x, err := p.Executions.WaitRecord(t.Context(), p.Admin, request, 20*time.Second)
		if err != nil || x == nil || x.Status != cloud.Complete {
			t.Errorf("got %+v, %v, want no error, x, Status cloud.Complete", x, err)
		}
	}
	for i := range 50 {
		begin := time.Now()
		complete(execute(fmt.Sprint("k", i)))
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	}
	// The atom reconnects after a restart of the control plane.
	listen := p.URL[len("http://"):]
	request := execute("last")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	p = cloudtest.Start(t, cloudtest.Options{Dir: dir, Listen: listen})
	complete(request)
	complete(execute("after"))
	// The atom is restarted as well.
	r.stop()
	r = start(t, nil, data, r.store, nil)
	complete(execute("again"))
	if err := p.Fleet.RevokeAtom(t.Context(), p.Admin, id.Atom); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revoked atom to be refused", func() bool { return !r.agent.Status().Connected })
	if !r.has("one") {
		t.Error("got the deployed process stopped, want it running")
	}
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); {
		if time.Now().After(deadline) {
			t.Fatal("did not happen: " + what)
		}
		<-time.After(5 * time.Millisecond)
	}
}
