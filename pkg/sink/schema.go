package sink

// Schema is how an output has its windows.
type Schema string

// The schemas.
const (
	SchemaLlama Schema = "llama"     // llama_path and what goes with it
	SchemaRaw   Schema = "raw_stats" // as Dropbox's LLAMA
	SchemaBoth  Schema = "both"
)

// schemed is an output that does not have SchemaLlama.
type schemed struct {
	Output
	schema Schema
}

// WithSchema has o get windows in the schema; all else it gets as it is.
func WithSchema(o Output, s Schema) Output {
	if s == SchemaLlama || s == "" {
		return o
	}
	return &schemed{o, s}
}

// Reopen opens the output anew, if it knows how to.
func (s *schemed) Reopen() error {
	if r, ok := s.Output.(Reopener); ok {
		return r.Reopen()
	}
	return nil
}

// bySchema are those of outs that have windows as llama_path, and as raw_stats.
func bySchema(outs []Output) (llama, raw []Output) {
	for _, o := range outs {
		s, ok := o.(*schemed)
		if !ok || s.schema == SchemaBoth {
			llama = append(llama, o)
		}
		if ok {
			raw = append(raw, o)
		}
	}
	return llama, raw
}
