package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gorilla/mux"

	"valence/atom"
	"valence/internal/document"
	"valence/internal/fault"
)

// Failures answers for what failed, and mends it.
type Failures interface {
	Failed(ctx context.Context, f atom.Filter, cursor string, limit int) ([]*atom.View, string, error)
	FailureGroups(ctx context.Context, process string, limit int) ([]atom.FailureGroupView, error)
	Resubmit(ctx context.Context, id string, r atom.Resubmission) (string, error)
	Discard(ctx context.Context, id string) error
	ResubmitMany(ctx context.Context, f atom.Filter, r atom.Resubmission, perSecond float64, discard bool) (*atom.BatchView, error)
	Batch(id string) (*atom.BatchView, error)
	StopBatch(id string) error
}

// largestRate bounds how many are resubmitted a second.
const largestRate = 10_000

func (c *console) listFailed(w http.ResponseWriter, r *http.Request) {
	f, cursor, limit, detail := failedFilter(r.URL.Query())
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	c.list(w, r, f, cursor, limit, c.Failures.Failed)
}

// showFailed gives one that failed or expired, with its steps and documents,
// also where it has been dealt with: its resolution tells how.
func (c *console) showFailed(w http.ResponseWriter, r *http.Request) {
	if !c.onlyQuery(w, r) {
		return
	}
	v, err := c.Executions.Show(r.Context(), mux.Vars(r)["id"])
	switch {
	case err != nil:
		c.fail(w, r, err)
	case v.Status != string(atom.Failed) && v.Status != string(atom.Expired):
		writeProblem(w, http.StatusNotFound, "The execution has not failed; it is at /api/v1/executions/"+v.Execution+".")
	default:
		writeJSON(w, http.StatusOK, v)
	}
}

// failedFilter reads the query of a list of failures.
func failedFilter(query url.Values) (f atom.Filter, cursor string, limit int, detail string) {
	f, cursor, limit, detail = filter(query, "fingerprint")
	for _, s := range f.Statuses {
		if s != string(atom.Failed) && s != string(atom.Expired) {
			return f, "", 0, "A failure has the status failed or expired, not " + s + "."
		}
	}
	return f, cursor, limit, detail
}

func (c *console) listGroups(w http.ResponseWriter, r *http.Request) {
	f, _, limit, detail := filter(r.URL.Query())
	if query := r.URL.Query(); detail == "" && len(query) > len(query["process"])+len(query["limit"]) {
		detail = "There are the parameters process and limit here."
	}
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	groups, err := c.Failures.FailureGroups(r.Context(), f.Process, limit)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	if groups == nil {
		groups = []atom.FailureGroupView{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"groups": groups})
}

func (c *console) resubmit(w http.ResponseWriter, r *http.Request) {
	if !c.onlyQuery(w, r) {
		return
	}
	body, ok := c.read(w, r, "from", "version", "document", "media_type")
	if !ok {
		return
	}
	how, ok := resubmission(w, body)
	if !ok {
		return
	}
	mediaType, ok := textOf(body, "media_type")
	if !ok {
		refuse(w, "The media type is not text.", "/media_type", "must be text")
		return
	}
	if _, there := body.Get("document"); there {
		var err error
		if how.Document, err = documentOf(body, mediaType); err != nil {
			refuse(w, "The document cannot be read.", "/document", err.Error())
			return
		}
	}
	id := mux.Vars(r)["id"]
	made, err := c.Failures.Resubmit(r.Context(), id, how)
	if err != nil {
		c.failMending(w, r, err)
		return
	}
	c.Log.Info("failed execution resubmitted", "execution", id, "as", made)
	w.Header().Set("Location", "/api/v1/executions/"+made)
	writeJSON(w, http.StatusAccepted, map[string]string{"execution": made, "original": id})
}

// resubmission reads how it is to run again.
func resubmission(w http.ResponseWriter, body *document.Object) (how atom.Resubmission, ok bool) {
	for _, k := range []struct {
		key  string
		into *string
		one  [2]string
	}{
		{"from", &how.From, [2]string{atom.FromStart, atom.FromFailedStep}},
		{"version", &how.Version, [2]string{atom.VersionCurrent, atom.VersionOriginal}},
	} {
		text, isText := textOf(body, k.key)
		if !isText || text != "" && text != k.one[0] && text != k.one[1] {
			refuse(w, "The key "+k.key+" takes "+k.one[0]+" or "+k.one[1]+".", "/"+k.key, "must be "+k.one[0]+" or "+k.one[1])
			return how, false
		}
		*k.into = text
	}
	return how, true
}

func (c *console) failMending(w http.ResponseWriter, r *http.Request, err error) {
	var unfit *atom.UnfitError
	var f *fault.Failure
	switch {
	case errors.Is(err, atom.ErrNotFailed):
		writeProblem(w, http.StatusConflict, "The execution has not failed.")
	case errors.Is(err, atom.ErrResolved):
		writeProblem(w, http.StatusConflict, "The failed execution has been dealt with already; its record tells how.")
	case errors.As(err, &unfit):
		writeProblem(w, http.StatusConflict, capital(unfit.Reason)+". Try: "+unfit.Try+".")
	case errors.As(err, &f) && f.Code == fault.CodeInvalid:
		violations := make([]fault.Violation, len(f.Problems))
		for i, p := range f.Problems {
			violations[i] = fault.Violation{Pointer: "/document" + p.Pointer, Detail: p.Detail}
		}
		writeProblem(w, http.StatusBadRequest, "The document does not match the process' profile.", violations...)
	default:
		c.fail(w, r, err)
	}
}

func (c *console) discard(w http.ResponseWriter, r *http.Request) {
	if !c.onlyQuery(w, r) {
		return
	}
	id := mux.Vars(r)["id"]
	if err := c.Failures.Discard(r.Context(), id); err != nil {
		c.failMending(w, r, err)
		return
	}
	c.Log.Info("failed execution deleted", "execution", id)
	w.WriteHeader(http.StatusNoContent)
}

// resubmitMany takes the parameters of the list in the body, with how they are
// to run again. Without any of them it asks for `all: true`.
func (c *console) resubmitMany(w http.ResponseWriter, r *http.Request) { c.many(w, r, false) }

func (c *console) discardMany(w http.ResponseWriter, r *http.Request) { c.many(w, r, true) }

func (c *console) many(w http.ResponseWriter, r *http.Request, discard bool) {
	if !c.onlyQuery(w, r) {
		return
	}
	body, ok := c.read(w, r, "process", "fingerprint", "status", "since", "until", "q", "track", "all", "from", "version", "rate")
	if !ok {
		return
	}
	query, ok := selection(w, body)
	if !ok {
		return
	}
	f, _, _, detail := failedFilter(query)
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	if all, _ := body.Get("all"); len(query) == 0 && all != true {
		refuse(w, "This would be every failed execution: say so with all: true, or name a process, a fingerprint, …", "/all", "must be true where nothing is selected")
		return
	}
	how, ok := resubmission(w, body)
	if !ok {
		return
	}
	perSecond := 0.0
	if v, there := body.Get("rate"); there {
		n, _ := v.(document.Number)
		var err error
		if perSecond, err = strconv.ParseFloat(string(n), 64); err != nil || perSecond <= 0 || perSecond > largestRate {
			refuse(w, "The rate is not one.", "/rate", "must be a number over 0, at most "+strconv.Itoa(largestRate))
			return
		}
	}
	v, err := c.Failures.ResubmitMany(r.Context(), f, how, perSecond, discard)
	if err != nil {
		c.failMending(w, r, err)
		return
	}
	c.Log.Info("many failed executions are being dealt with", "matched", v.Matched, "delete", discard, "id", v.ID)
	w.Header().Set("Location", "/api/v1/failed/batches/"+v.ID)
	writeJSON(w, http.StatusAccepted, v)
}

// selection gives what a body selects in the form of a query.
func selection(w http.ResponseWriter, body *document.Object) (url.Values, bool) {
	query := url.Values{}
	for _, key := range []string{"process", "fingerprint", "status", "since", "until", "q"} {
		text, ok := textOf(body, key)
		if !ok {
			refuse(w, "The key "+key+" is not text.", "/"+key, "must be text")
			return nil, false
		}
		if text != "" {
			query.Set(key, text)
		}
	}
	v, there := body.Get("track")
	if !there {
		return query, true
	}
	o, ok := document.Decode(v).(*document.Object)
	if !ok {
		refuse(w, "The key track is not an object.", "/track", "must be an object of texts")
		return nil, false
	}
	for i := range o.Len() {
		name, v := o.At(i)
		text, ok := v.(string)
		if !ok {
			refuse(w, "A tracked value is not text.", "/track/"+name, "must be text")
			return nil, false
		}
		query.Set("track."+name, text)
	}
	return query, true
}

func (c *console) showBatch(w http.ResponseWriter, r *http.Request) {
	v, err := c.Failures.Batch(mux.Vars(r)["id"])
	if err != nil {
		writeProblem(w, http.StatusNotFound, "There is no such resubmission in this run of the atom.")
		return
	}
	writeJSON(w, http.StatusOK, v)
}

func (c *console) stopBatch(w http.ResponseWriter, r *http.Request) {
	id := mux.Vars(r)["id"]
	if err := c.Failures.StopBatch(id); err != nil {
		writeProblem(w, http.StatusNotFound, "There is no such resubmission in this run of the atom.")
		return
	}
	c.showBatch(w, r)
}
