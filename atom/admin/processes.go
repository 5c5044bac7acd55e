package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"valence/atom"
	"valence/atom/store"
	"valence/processes"
)

// processView is a deployed process as shown to operators.
type processView struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	Pattern     string         `json:"pattern"`
	Version     string         `json:"version"`
	Position    string         `json:"position"`
	Paused      bool           `json:"paused"`
	Halted      bool           `json:"processing_paused"`
	Listen      *listenView    `json:"listen,omitempty"`
	Schedule    *scheduleView  `json:"schedule,omitempty"`
	Subscribe   *subscribeView `json:"subscribe,omitempty"`
	Waiting     int64          `json:"waiting"`
	Running     int            `json:"running"`
	Oldest      *time.Time     `json:"oldest_received_at,omitempty"`
	Failed      int64          `json:"failed"`  // unresolved
	Blocked     int64          `json:"blocked"` // sequence keys
	Steps       []stepView     `json:"steps,omitempty"`
}

type listenView struct {
	Path    string   `json:"path"`
	Methods []string `json:"methods"`
	Input   string   `json:"input"`
	Output  string   `json:"output,omitempty"`
	Auth    string   `json:"auth"`
}

// stepView describes a step without its settings.
type stepView struct {
	Kind        string `json:"kind"`
	Path        string `json:"path"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	Position    string `json:"position"`
}

func (a *api) processView(r *http.Request, d *atom.DeployedProcess, problems map[string]store.Problems, steps bool) (*processView, error) {
	p := d.Process
	load, err := a.Processes.Load(r.Context(), p.Name)
	if err != nil {
		return nil, err
	}
	v := &processView{
		Name: p.Name, Description: p.Description, Pattern: string(p.Pattern), Version: p.Hash,
		Position: p.Pos.String(), Paused: d.Paused(), Halted: d.ProcessingPaused(), Waiting: load.Waiting, Running: load.Running,
		Failed: problems[p.Name].Failed, Blocked: problems[p.Name].Blocked,
	}
	if !load.Oldest.IsZero() {
		v.Oldest = &load.Oldest
	}
	if l := p.Listen; l != nil {
		v.Listen = &listenView{Path: l.Path, Methods: l.Methods, Input: l.Input, Output: l.Output, Auth: l.Auth}
	}
	v.Schedule = a.scheduleView(d)
	v.Subscribe = a.subscribeView(d)
	if steps {
		v.Steps = stepsOf(p.Steps)
	}
	return v, nil
}

func stepsOf(block processes.Block) []stepView {
	views := make([]stepView, 0, len(block))
	for _, s := range block {
		views = append(views, stepView{Kind: s.Kind, Path: s.Path, Name: s.Name, Description: s.Description, Position: s.Pos.String()})
	}
	return views
}

func (a *api) listProcesses(w http.ResponseWriter, r *http.Request) {
	if !a.rejectQuery(w, r) {
		return
	}
	list := struct {
		Processes []*processView `json:"processes"`
	}{Processes: []*processView{}}
	problems, err := a.Processes.Problems(r.Context())
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	for _, d := range a.Processes.Processes() {
		v, err := a.processView(r, d, problems, false)
		if err != nil {
			a.writeError(w, r, err)
			return
		}
		list.Processes = append(list.Processes, v)
	}
	writeJSON(w, http.StatusOK, list)
}

func (a *api) showProcess(w http.ResponseWriter, r *http.Request) {
	if a.rejectQuery(w, r) {
		a.writeProcess(w, r, mux.Vars(r)["name"])
	}
}

func (a *api) writeProcess(w http.ResponseWriter, r *http.Request, name string) {
	d, ok := a.Processes.Process(name)
	if !ok {
		a.writeError(w, r, atom.ErrNoSuch)
		return
	}
	problems, err := a.Processes.Problems(r.Context())
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	v, err := a.processView(r, d, problems, true)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, v)
}

func (a *api) pause(w http.ResponseWriter, r *http.Request) {
	a.change(w, r, a.Triggers.Pause, "trigger paused")
}

func (a *api) resume(w http.ResponseWriter, r *http.Request) {
	a.change(w, r, a.Triggers.Resume, "trigger resumed")
}

func (a *api) pauseProcessing(w http.ResponseWriter, r *http.Request) {
	a.change(w, r, a.Triggers.PauseProcessing, "processing paused")
}

func (a *api) resumeProcessing(w http.ResponseWriter, r *http.Request) {
	a.change(w, r, a.Triggers.ResumeProcessing, "processing resumed")
}

// change changes a process, logs it, and responds with the process.
func (a *api) change(w http.ResponseWriter, r *http.Request, do func(context.Context, string) error, done string) {
	name := mux.Vars(r)["name"]
	if err := do(r.Context(), name); err != nil {
		a.writeError(w, r, err)
		return
	}
	a.Log.Info(done, "process", name)
	a.writeProcess(w, r, name)
}
