// The table of requested lengths that the program carries inside. The build passes its path.
    .section .rodata
    .global ruler_table_begin
    .global ruler_table_end
    .hidden ruler_table_begin
    .hidden ruler_table_end
ruler_table_begin:
    .incbin RULER_TABLE
ruler_table_end:
    .byte 0

    .section .note.GNU-stack, "", %progbits
