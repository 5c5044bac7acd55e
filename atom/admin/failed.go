package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/fault"

	"github.com/gorilla/mux"
)

// Failures lists failed executions and resolves them.
type Failures interface {
	Failed(ctx context.Context, f store.Filter, cursor string, limit int) ([]*atom.ExecutionView, string, error)
	FailureGroups(ctx context.Context, process string, limit int) ([]atom.FailureGroupView, error)
	Resubmit(ctx context.Context, id string, r atom.Resubmission) (string, error)
	Discard(ctx context.Context, id string) error
	ResubmitMany(ctx context.Context, f store.Filter, r atom.Resubmission, perSecond float64, discard bool) (*atom.BatchView, error)
	Batch(id string) (*atom.BatchView, error)
	StopBatch(id string) error
}

// maxRate is the highest rate of resubmissions, per second.
const maxRate = 10_000

func (a *api) listFailed(w http.ResponseWriter, r *http.Request) {
	f, cursor, limit, detail := failedFilter(r.URL.Query())
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	a.writePage(w, r, f, cursor, limit, a.Failures.Failed)
}

// showFailed responds with a failed or expired execution, including its steps
// and documents. Resolved ones are shown with their resolution.
func (a *api) showFailed(w http.ResponseWriter, r *http.Request) {
	if !a.rejectQuery(w, r) {
		return
	}
	v, err := a.Executions.Show(r.Context(), mux.Vars(r)["id"])
	switch {
	case err != nil:
		a.writeError(w, r, err)
	case v.Status != string(store.Failed) && v.Status != string(store.Expired):
		writeProblem(w, http.StatusNotFound, "The execution has not failed; see /api/v1/executions/"+v.Execution+".")
	default:
		writeJSON(w, http.StatusOK, v)
	}
}

// failedFilter parses the query of a list of failed executions.
func failedFilter(query url.Values) (f store.Filter, cursor string, limit int, detail string) {
	f, cursor, limit, detail = filter(query, "fingerprint")
	for _, s := range f.Statuses {
		if s != string(store.Failed) && s != string(store.Expired) {
			return f, "", 0, "Failed executions have the status failed or expired, not " + s + "."
		}
	}
	return f, cursor, limit, detail
}

func (a *api) listGroups(w http.ResponseWriter, r *http.Request) {
	f, _, limit, detail := filter(r.URL.Query())
	if query := r.URL.Query(); detail == "" && len(query) > len(query["process"])+len(query["limit"]) {
		detail = "Unknown parameter; use process and limit."
	}
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	groups, err := a.Failures.FailureGroups(r.Context(), f.Process, limit)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	if groups == nil {
		groups = []atom.FailureGroupView{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"groups": groups})
}

func (a *api) resubmit(w http.ResponseWriter, r *http.Request) {
	if !a.rejectQuery(w, r) {
		return
	}
	body, ok := a.readObject(w, r, "from", "version", "document", "media_type")
	if !ok {
		return
	}
	how, ok := readResubmission(w, body)
	if !ok {
		return
	}
	mediaType, ok := textOf(body, "media_type")
	if !ok {
		rejectValue(w, "The media type must be a string.", "/media_type", "must be a string")
		return
	}
	if _, there := body.Get("document"); there {
		var err error
		if how.Document, err = documentOf(r.Context(), body, mediaType); err != nil {
			rejectValue(w, "The document cannot be parsed.", "/document", err.Error())
			return
		}
	}
	id := mux.Vars(r)["id"]
	made, err := a.Failures.Resubmit(r.Context(), id, how)
	if err != nil {
		a.writeResubmissionError(w, r, err)
		return
	}
	a.Log.Info("failed execution resubmitted", "execution", id, "as", made)
	w.Header().Set("Location", "/api/v1/executions/"+made)
	writeJSON(w, http.StatusAccepted, map[string]string{"execution": made, "original": id})
}

// readResubmission reads the keys `from` and `version`.
func readResubmission(w http.ResponseWriter, body *document.Object) (how atom.Resubmission, ok bool) {
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
			rejectValue(w, "The key "+k.key+" takes "+k.one[0]+" or "+k.one[1]+".", "/"+k.key, "must be "+k.one[0]+" or "+k.one[1])
			return how, false
		}
		*k.into = text
	}
	return how, true
}

func (a *api) writeResubmissionError(w http.ResponseWriter, r *http.Request, err error) {
	var unfit *atom.ResubmissionError
	var f *fault.Failure
	switch {
	case errors.Is(err, atom.ErrNotFailed):
		writeProblem(w, http.StatusConflict, "The execution has not failed.")
	case errors.Is(err, store.ErrResolved):
		writeProblem(w, http.StatusConflict, "The failed execution is already resolved; see its resolution.")
	case errors.As(err, &unfit):
		writeProblem(w, http.StatusConflict, sentence(unfit.Reason)+". Try: "+unfit.Try+".")
	case errors.As(err, &f) && f.Code == fault.CodeInvalid:
		violations := make([]fault.Violation, len(f.Problems))
		for i, p := range f.Problems {
			violations[i] = fault.Violation{Pointer: "/document" + p.Pointer, Detail: p.Detail}
		}
		writeProblem(w, http.StatusBadRequest, "The document does not match the profile of the process.", violations...)
	default:
		a.writeError(w, r, err)
	}
}

func (a *api) discard(w http.ResponseWriter, r *http.Request) {
	if !a.rejectQuery(w, r) {
		return
	}
	id := mux.Vars(r)["id"]
	if err := a.Failures.Discard(r.Context(), id); err != nil {
		a.writeResubmissionError(w, r, err)
		return
	}
	a.Log.Info("failed execution deleted", "execution", id)
	w.WriteHeader(http.StatusNoContent)
}

// resubmitMany resubmits the executions selected by the body. Selecting all of
// them requires `all: true`.
func (a *api) resubmitMany(w http.ResponseWriter, r *http.Request) { a.startBatch(w, r, false) }

func (a *api) discardMany(w http.ResponseWriter, r *http.Request) { a.startBatch(w, r, true) }

func (a *api) startBatch(w http.ResponseWriter, r *http.Request, discard bool) {
	if !a.rejectQuery(w, r) {
		return
	}
	body, ok := a.readObject(w, r, "process", "fingerprint", "status", "since", "until", "q", "track", "all", "from", "version", "rate")
	if !ok {
		return
	}
	query, ok := readSelection(w, body)
	if !ok {
		return
	}
	f, _, _, detail := failedFilter(query)
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	if all, _ := body.Get("all"); len(query) == 0 && all != true {
		rejectValue(w, "This would affect every failed execution. Send all: true to confirm, or select by process, fingerprint, …", "/all", "must be true if nothing is selected")
		return
	}
	how, ok := readResubmission(w, body)
	if !ok {
		return
	}
	perSecond := 0.0
	if v, there := body.Get("rate"); there {
		n, _ := v.(document.Number)
		var err error
		if perSecond, err = strconv.ParseFloat(string(n), 64); err != nil || perSecond <= 0 || perSecond > maxRate {
			rejectValue(w, "The rate is not valid.", "/rate", "must be a number above 0 and at most "+strconv.Itoa(maxRate))
			return
		}
	}
	v, err := a.Failures.ResubmitMany(r.Context(), f, how, perSecond, discard)
	if err != nil {
		a.writeResubmissionError(w, r, err)
		return
	}
	a.Log.Info("batch of failed executions started", "matched", v.Matched, "delete", discard, "id", v.ID)
	w.Header().Set("Location", "/api/v1/failed/batches/"+v.ID)
	writeJSON(w, http.StatusAccepted, v)
}

// readSelection returns the selection in the body as a query.
func readSelection(w http.ResponseWriter, body *document.Object) (url.Values, bool) {
	query := url.Values{}
	for _, key := range []string{"process", "fingerprint", "status", "since", "until", "q"} {
		text, ok := textOf(body, key)
		if !ok {
			rejectValue(w, "The key "+key+" must be a string.", "/"+key, "must be a string")
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
		rejectValue(w, "The key track must be an object.", "/track", "must be an object with string values")
		return nil, false
	}
	for i := range o.Len() {
		name, v := o.At(i)
		text, ok := v.(string)
		if !ok {
			rejectValue(w, "Tracked values must be strings.", "/track/"+name, "must be a string")
			return nil, false
		}
		query.Set("track."+name, text)
	}
	return query, true
}

func (a *api) showBatch(w http.ResponseWriter, r *http.Request) {
	v, err := a.Failures.Batch(mux.Vars(r)["id"])
	if err != nil {
		writeProblem(w, http.StatusNotFound, "No such batch since this atom started.")
		return
	}
	writeJSON(w, http.StatusOK, v)
}

func (a *api) stopBatch(w http.ResponseWriter, r *http.Request) {
	id := mux.Vars(r)["id"]
	if err := a.Failures.StopBatch(id); err != nil {
		writeProblem(w, http.StatusNotFound, "No such batch since this atom started.")
		return
	}
	a.showBatch(w, r)
}
