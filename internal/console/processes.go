package console

import (
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"valence/atom"
	"valence/processes"
)

// processView is a deployed process as operators see it.
type processView struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	Pattern     string         `json:"pattern"`
	Version     string         `json:"version"`
	Position    string         `json:"position"`
	Paused      bool           `json:"paused"`
	Listen      *listenView    `json:"listen,omitempty"`
	Schedule    *scheduleView  `json:"schedule,omitempty"`
	Subscribe   *subscribeView `json:"subscribe,omitempty"`
	Waiting     int64          `json:"waiting"`
	Running     int            `json:"running"`
	Oldest      *time.Time     `json:"oldest_received_at,omitempty"`
	Steps       []stepView     `json:"steps,omitempty"`
}

type listenView struct {
	Path    string   `json:"path"`
	Methods []string `json:"methods"`
	Input   string   `json:"input"`
	Output  string   `json:"output,omitempty"`
	Auth    string   `json:"auth"`
}

// stepView is a step as it is written.
type stepView struct {
	Kind        string `json:"kind"`
	Path        string `json:"path"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	Position    string `json:"position"`
}

func (c *console) view(r *http.Request, d *atom.Deployed, steps bool) (*processView, error) {
	p := d.Process
	load, err := c.Processes.Load(r.Context(), p.Name)
	if err != nil {
		return nil, err
	}
	v := &processView{
		Name: p.Name, Description: p.Description, Pattern: string(p.Pattern), Version: p.Hash,
		Position: p.Pos.String(), Paused: d.Paused(), Waiting: load.Waiting, Running: load.Running,
	}
	if !load.Oldest.IsZero() {
		v.Oldest = &load.Oldest
	}
	if l := p.Listen; l != nil {
		v.Listen = &listenView{Path: l.Path, Methods: l.Methods, Input: l.Input, Output: l.Output, Auth: l.Auth}
	}
	v.Schedule = c.schedule(d)
	if s := p.Subscribe; s != nil {
		v.Subscribe = &subscribeView{Connection: s.Connection, Connector: s.Connector.Name, Error: c.Processes.Hearing(d)}
	}
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

func (c *console) listProcesses(w http.ResponseWriter, r *http.Request) {
	if !c.onlyQuery(w, r) {
		return
	}
	list := struct {
		Processes []*processView `json:"processes"`
	}{Processes: []*processView{}}
	for _, d := range c.Processes.Deployed() {
		v, err := c.view(r, d, false)
		if err != nil {
			c.fail(w, r, err)
			return
		}
		list.Processes = append(list.Processes, v)
	}
	writeJSON(w, http.StatusOK, list)
}

func (c *console) showProcess(w http.ResponseWriter, r *http.Request) {
	if c.onlyQuery(w, r) {
		c.answerProcess(w, r, mux.Vars(r)["name"])
	}
}

func (c *console) answerProcess(w http.ResponseWriter, r *http.Request, name string) {
	d, ok := c.Processes.Process(name)
	if !ok {
		c.fail(w, r, atom.ErrNoSuch)
		return
	}
	v, err := c.view(r, d, true)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, v)
}

func (c *console) pause(w http.ResponseWriter, r *http.Request) {
	name := mux.Vars(r)["name"]
	if err := c.Triggers.Pause(r.Context(), name); err != nil {
		c.fail(w, r, err)
		return
	}
	c.Log.Info("trigger paused", "process", name)
	c.answerProcess(w, r, name)
}

func (c *console) resume(w http.ResponseWriter, r *http.Request) {
	name := mux.Vars(r)["name"]
	if err := c.Triggers.Resume(r.Context(), name); err != nil {
		c.fail(w, r, err)
		return
	}
	c.Log.Info("trigger resumed", "process", name)
	c.answerProcess(w, r, name)
}
