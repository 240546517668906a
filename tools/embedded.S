// Files that the program carries inside: plotly.js, and the report's page and scripts.
// The build passes their paths.
    .section .rodata

    .macro embed name, path
    .global \name\()_begin
    .global \name\()_end
    .hidden \name\()_begin
    .hidden \name\()_end
\name\()_begin:
    .incbin "\path"
\name\()_end:
    .byte 0
    .endm

    embed plotly_js, PLOTLY_JS
    embed report_html, REPORT_HTML
    embed report_js, REPORT_JS
    embed report_lengths_js, REPORT_LENGTHS_JS
    embed report_samples_js, REPORT_SAMPLES_JS
    embed report_start_js, REPORT_START_JS
    embed report_live_js, REPORT_LIVE_JS

    .section .note.GNU-stack, "", %progbits
