package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"valence/atom"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

// receipt is the response to an execution request.
type receipt struct {
	Execution     string    `json:"execution"`
	Process       string    `json:"process"`
	Status        string    `json:"status"`
	ReceivedAt    time.Time `json:"received_at"`
	Location      string    `json:"location"`
	CorrelationID string    `json:"correlation_id,omitempty"`
}

func (a *api) execute(w http.ResponseWriter, r *http.Request) {
	if !a.rejectQuery(w, r) {
		return
	}
	body, ok := a.readObject(w, r, "props", "document", "media_type", "request")
	if !ok {
		return
	}
	in, ok := inputOf(w, r.Context(), body)
	if !ok {
		return
	}
	name := mux.Vars(r)["name"]
	ack, err := a.Triggers.Execute(r.Context(), name, in)
	if err != nil {
		a.writeRefusal(w, r, name, in, err)
		return
	}
	location := "/api/v1/executions/" + ack.Execution
	w.Header().Set("Location", location)
	writeJSON(w, http.StatusAccepted, receipt{
		Execution: ack.Execution, Process: ack.Process, Status: ack.Status,
		ReceivedAt: ack.ReceivedAt, Location: location, CorrelationID: ack.CorrelationID,
	})
}

// inputOf reads the body of an execution request. If it returns false it has
// responded.
func inputOf(w http.ResponseWriter, ctx context.Context, body *document.Object) (in atom.Input, ok bool) {
	if in.Props, ok = propsOf(body); !ok {
		rejectValue(w, "The props must be an object.", "/props", "must be an object")
		return in, false
	}
	mediaType, ok := textOf(body, "media_type")
	if !ok {
		rejectValue(w, "The media type must be a string.", "/media_type", "must be a string")
		return in, false
	}
	var err error
	if in.Document, err = documentOf(ctx, body, mediaType); err != nil {
		rejectValue(w, "The document cannot be parsed.", "/document", err.Error())
		return in, false
	}
	var v *fault.Violation
	if in.Request, v = requestOf(body); v != nil {
		writeProblem(w, http.StatusBadRequest, "The request is invalid.", *v)
		return in, false
	}
	return in, true
}

// writeRefusal responds with the reason why a process did not accept its input.
func (a *api) writeRefusal(w http.ResponseWriter, r *http.Request, process string, in atom.Input, err error) {
	var invalid *atom.InvalidRequest
	var f *fault.Failure
	switch {
	case errors.As(err, &invalid):
		writeProblem(w, http.StatusBadRequest, "The listener does not accept this request.", fault.Violation{Pointer: "/request" + invalid.Pointer, Detail: invalid.Detail})
	case !errors.As(err, &f) || atom.IsUnavailable(err):
		a.writeError(w, r, err)
	case f.Code == fault.CodeInvalid:
		violations := make([]fault.Violation, len(f.Problems))
		for i, p := range f.Problems {
			violations[i] = fault.Violation{Pointer: "/document" + p.Pointer, Detail: p.Detail}
		}
		writeProblem(w, http.StatusBadRequest, "The document does not match the profile of the process.", violations...)
	default:
		detail := sentence(f.Error()) + "."
		if d, ok := a.Options.Processes.Process(process); ok && d.Process.Listen != nil && in.Request == nil {
			detail += " The process was started without a request; send the parts that it reads as request."
		}
		writeProblem(w, http.StatusUnprocessableEntity, detail)
	}
}

func (a *api) backup(w http.ResponseWriter, r *http.Request) {
	if !a.rejectQuery(w, r) {
		return
	}
	body, ok := a.readObject(w, r, "folder")
	if !ok {
		return
	}
	folder, ok := textOf(body, "folder")
	switch {
	case a.Backup == nil:
		writeProblem(w, http.StatusNotImplemented, "The executions of a group are in its PostgreSQL database. Back it up with the tools of PostgreSQL, such as pg_basebackup or pg_dump.")
		return
	case !ok || !filepath.IsAbs(folder):
		rejectValue(w, "The folder must be an absolute path on the atom's machine.", "/folder", "must be an absolute path")
		return
	}
	folder = filepath.Clean(folder)
	if err := a.Options.Backup(r.Context(), folder); err != nil {
		a.Log.Error("backup failed", "folder", folder, "error", err)
		writeProblem(w, http.StatusUnprocessableEntity, sentence(err.Error())+".")
		return
	}
	a.Log.Info("backup written", "folder", folder)
	writeJSON(w, http.StatusOK, map[string]string{"folder": folder})
}

// rejectValue responds 400 for an invalid value in the body.
func rejectValue(w http.ResponseWriter, detail, pointer, what string) {
	writeProblem(w, http.StatusBadRequest, detail, fault.Violation{Pointer: pointer, Detail: what})
}

// readObject decodes a JSON object strictly. It rejects other media types,
// duplicate and unknown keys, trailing data and bodies over the limit. If it
// returns false it has responded. An empty body is an empty object.
func (a *api) readObject(w http.ResponseWriter, r *http.Request, keys ...string) (*document.Object, bool) {
	if media := r.Header.Get("Content-Type"); media != "" {
		if kind, params, err := mime.ParseMediaType(media); err != nil || kind != "application/json" || !isUTF8(params["charset"]) {
			writeProblem(w, http.StatusUnsupportedMediaType, "The body must be application/json in UTF-8.")
			return nil, false
		}
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.MaxBody))
	if err != nil {
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			writeProblem(w, http.StatusRequestEntityTooLarge, "The body exceeds the size limit of this atom.")
			return nil, false
		}
		writeProblem(w, http.StatusBadRequest, "The body ended early.")
		return nil, false
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return &document.Object{}, true
	}
	if err := convert.CheckJSON(text); err != nil {
		v := fault.Violation{Detail: err.Error()}
		if e := (*convert.SyntaxError)(nil); errors.As(err, &e) {
			v.Pointer = e.Pointer
		}
		writeProblem(w, http.StatusBadRequest, "The body is not valid JSON.", v)
		return nil, false
	}
	body, ok := document.Decode(document.Parse(string(text))).(*document.Object)
	if !ok {
		rejectValue(w, "The body must be a JSON object.", "", "must be an object")
		return nil, false
	}
	for _, key := range body.Keys() {
		if !slices.Contains(keys, key) {
			rejectValue(w, "Unknown key "+key+"; use "+strings.Join(keys, ", ")+".", "/"+key, "unknown key")
			return nil, false
		}
	}
	return body, true
}

func isUTF8(charset string) bool { return charset == "" || strings.EqualFold(charset, "utf-8") }

// textOf returns a string value; false if the key is present but not a string.
func textOf(body *document.Object, key string) (string, bool) {
	v, there := body.Get(key)
	s, ok := v.(string)
	return s, ok || !there
}

// propsOf returns the process properties, or nil if they are absent or null.
func propsOf(body *document.Object) (*document.Object, bool) {
	v, _ := body.Get("props")
	if v == nil {
		return nil, true
	}
	props, ok := document.Decode(v).(*document.Object)
	return props, ok
}

// documentOf builds the input document. JSON is used as is; for other media
// types the document must be a string.
func documentOf(ctx context.Context, body *document.Object, mediaType string) (*document.Document, error) {
	v, there := body.Get("document")
	if !there {
		return document.Empty, nil
	}
	kind, params, err := mime.ParseMediaType(mediaType)
	switch {
	case mediaType == "":
		return document.FromValue(v), nil
	case err != nil:
		return nil, errors.New("the media_type is not valid")
	case !isUTF8(params["charset"]):
		return nil, errors.New("the media_type must use UTF-8")
	case isJSON(kind):
		return document.FromValue(v), nil
	}
	s, ok := v.(string)
	if !ok {
		return nil, errors.New("a document that is not JSON must be a string")
	}
	return ParseDocument(ctx, []byte(s), mediaType)
}

// ParseDocument parses a document in UTF-8 that an operator enters.
func ParseDocument(ctx context.Context, s []byte, mediaType string) (*document.Document, error) {
	kind, _, err := mime.ParseMediaType(mediaType)
	if err != nil {
		return nil, errors.New("the media_type is not valid")
	}
	var data []byte
	switch {
	case isJSON(kind):
		if err := convert.CheckJSON(s); err != nil {
			return nil, err
		}
		return document.FromJSON(s), nil
	case kind == "application/xml" || kind == "text/xml" || strings.HasSuffix(kind, "+xml"):
		data, err = convert.XMLToJSON(ctx, s, nil)
	case kind == "text/csv":
		data, err = convert.CSVToJSON(ctx, s, true, ',')
	case kind == "application/x-www-form-urlencoded":
		data, err = convert.FormToJSON(ctx, s)
	default:
		data = document.AppendJSON(nil, string(s))
	}
	if err != nil {
		return nil, err
	}
	return document.New(s, mediaType, string(data)), nil
}

func isJSON(kind string) bool { return kind == "application/json" || strings.HasSuffix(kind, "+json") }
